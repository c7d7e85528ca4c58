//! Canonical references (<https://hl7.org/fhir/R5/references.html#canonical>): `url|version` leads to the resources with that url and that version;
//! `url` alone to the latest version that is there. Of two versions the later is the one that is greater part by part: numbers by value, one with a
//! suffix before the one without (`2.0.0-ballot`, `2.0.0`), as semantic versions have it; one without a version is the earliest.

use fhir_definitions::SearchParameter;
use fhirpath::Node;
use serde_json::Value;
use std::cmp::Ordering;

/// A canonical URL, taken apart. A `#fragment` is left out: what is named is in that resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Canonical {
    pub url: String,
    pub version: Option<String>,
}

impl Canonical {
    pub fn parse(text: &str) -> Canonical {
        let text = text.split_once('#').map_or(text, |(text, _)| text);
        match text.split_once('|') {
            Some((url, version)) if !version.is_empty() => Canonical {
                url: url.to_owned(),
                version: Some(version.to_owned()),
            },
            Some((url, _)) => Canonical {
                url: url.to_owned(),
                version: None,
            },
            None => Canonical {
                url: text.to_owned(),
                version: None,
            },
        }
    }
}

/// Whether elements that the parameter selects may be canonical URLs.
pub fn holds_canonicals(parameter: &SearchParameter) -> bool {
    let types = parameter.program.as_ref().map(|program| program.types());
    types.is_some_and(|types| types.contains(&"canonical"))
}

/// The canonical URLs that the parameter selects.
pub fn canonicals(parameter: &SearchParameter, resource: &Value) -> Vec<Canonical> {
    let mut nodes: Vec<Node<'_>> = Vec::new();
    if let Some(program) = &parameter.program {
        program.run(resource, &mut nodes);
    }
    nodes
        .iter()
        .filter(|node| node.type_name == "canonical")
        .filter_map(|node| Some(Canonical::parse(node.value.as_str()?)))
        .filter(|canonical| !canonical.url.is_empty())
        .collect()
}

/// The order of two business versions.
pub fn order(a: Option<&str>, b: Option<&str>) -> Ordering {
    let (Some(a), Some(b)) = (a, b) else {
        return a.is_some().cmp(&b.is_some());
    };
    let (a, a_suffix) = a
        .split_once('-')
        .map_or((a, None), |(a, rest)| (a, Some(rest)));
    let (b, b_suffix) = b
        .split_once('-')
        .map_or((b, None), |(b, rest)| (b, Some(rest)));
    parts(a, b).then_with(|| match (a_suffix, b_suffix) {
        (Some(a), Some(b)) => parts(a, b),
        (a, b) => b.is_some().cmp(&a.is_some()),
    })
}

fn parts(a: &str, b: &str) -> Ordering {
    let separators = ['.', '-', '_', '+'];
    let (mut a, mut b) = (a.split(separators), b.split(separators));
    loop {
        let order = match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (a, b) if a.is_none() || b.is_none() => a.is_some().cmp(&b.is_some()),
            (a, b) => part(a.unwrap_or_default(), b.unwrap_or_default()),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

fn part(a: &str, b: &str) -> Ordering {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let (plain_a, plain_b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    match digits(a) && digits(b) {
        true => (plain_a.len().cmp(&plain_b.len())).then_with(|| plain_a.cmp(plain_b)),
        false => a.cmp(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders() {
        let ascending = [
            None,
            Some("0.9"),
            Some("1"),
            Some("1.0"),
            Some("1.2.0-ballot"),
            Some("1.2.0"),
            Some("1.10.0"),
            Some("2023-12-31"),
            Some("2024-02-01"),
            Some("2024.02.1"),
        ];
        for (index, a) in ascending.iter().enumerate() {
            for (other, b) in ascending.iter().enumerate() {
                assert_eq!(order(*a, *b), index.cmp(&other), "{a:?} {b:?}");
            }
        }
        assert_eq!(order(Some("1.01"), Some("1.1")), Ordering::Equal);
    }

    #[test]
    fn parses() {
        for (text, url, version) in [
            ("http://x/a", "http://x/a", None),
            ("http://x/a|1.0", "http://x/a", Some("1.0")),
            ("http://x/a|", "http://x/a", None),
            ("http://x/a|1.0#part", "http://x/a", Some("1.0")),
        ] {
            let got = Canonical::parse(text);
            assert_eq!(
                (&*got.url, got.version.as_deref()),
                (url, version),
                "{text}"
            );
        }
    }
}
