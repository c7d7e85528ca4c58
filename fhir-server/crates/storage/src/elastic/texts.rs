//! The texts that a document has of its resource, for searches by words: in the normal form, by elements, to be split at spaces. Pure.

use fhir_search::query::TextOf;
use fhir_search::text::Words;
use serde_json::Value;

/// The texts of a body, by elements, in the normal form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TextRows {
    pub narrative: Vec<String>,
    pub content: Vec<String>,
}

impl TextRows {
    /// Of a stored body, put together with its type.
    pub fn of(resource: &Value) -> TextRows {
        let of = |of| Words::of(of, resource).elements().map(words).collect();
        TextRows {
            narrative: of(TextOf::Narrative),
            content: of(TextOf::Content),
        }
    }
}

/// Longest word that is looked for in the index, in bytes. Those that are longer are cut behind that: they are none of the others, and begin with them. (What
/// splits the texts there would split longer words, too.)
pub(crate) const WORD_MAX: usize = 200;

fn words(text: &str) -> String {
    if text.split(' ').all(|word| word.len() <= WORD_MAX) {
        return text.to_owned();
    }
    let cut = |word: &str| {
        let behind = word.char_indices().map(|(at, _)| at);
        let end = behind.filter(|at| *at > WORD_MAX).min();
        word[..end.unwrap_or(word.len())].to_owned()
    };
    text.split(' ').map(cut).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Up to the longest that is looked for, words stay what they are; none that is longer is taken for one of those.
    #[test]
    fn long_words_are_cut() {
        let word = |length| "x".repeat(length);
        assert_eq!(words(&word(WORD_MAX)), word(WORD_MAX));
        for longer in [word(WORD_MAX + 1), word(5_000)] {
            assert_eq!(
                words(&format!("a {longer} b")),
                format!("a {} b", word(WORD_MAX + 1))
            );
        }
        let wide = "\u{10348}".repeat(100);
        assert_eq!(words(&wide).len(), 204);
    }
}
