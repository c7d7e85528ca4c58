//! Which kinds of search parameter, modifiers and prefixes have a case: what the specification allows one that finds something, what it
//! forbids one that is refused (<https://hl7.org/fhir/R5/search.html#modifiers>, <https://hl7.org/fhir/R5/search.html#prefix>).

use crate::{Case, Expect, Suite};
use fhir_definitions::{Definitions, ParameterType, SearchParameter};
use std::collections::BTreeMap;

/// The rows.
pub const KINDS: [ParameterType; 8] = [
    ParameterType::Number,
    ParameterType::Date,
    ParameterType::String,
    ParameterType::Token,
    ParameterType::Reference,
    ParameterType::Composite,
    ParameterType::Quantity,
    ParameterType::Uri,
];

/// The columns of modifiers; `[type]` stands for the name of any type. (`:iterate` is one of includes.)
pub const MODIFIERS: [&str; 14] = [
    "missing",
    "exact",
    "contains",
    "text",
    "text-advanced",
    "code-text",
    "not",
    "in",
    "not-in",
    "above",
    "below",
    "of-type",
    "identifier",
    "[type]",
];

/// The columns of prefixes, for [`has_prefixes`].
pub const PREFIXES: [&str; 9] = ["eq", "ne", "gt", "lt", "ge", "le", "sa", "eb", "ap"];

/// Numbers, dates and quantities have prefixes, and with them composites; elsewhere the letters belong to the value.
pub fn has_prefixes(kind: ParameterType) -> bool {
    use ParameterType::{Composite, Date, Number, Quantity};
    matches!(kind, Number | Date | Quantity | Composite)
}

/// What the cases have of one cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// Cases that find something.
    pub found: usize,
    /// Cases that are refused.
    pub refused: usize,
}

/// The cells that have cases, by kind and by the name of the modifier or prefix; `""` is neither.
pub type Table = BTreeMap<(String, String), Cell>;

/// Fills the table with the cases of `suites`.
pub fn table(definitions: &Definitions, suites: &[Suite]) -> Table {
    let mut table = Table::new();
    for case in suites.iter().flat_map(|suite| &suite.cases) {
        let url = case.url("http://localhost/fhir", |_| "2000".to_owned());
        let (types, parameters) = Case::parameters(&url);
        let (Some(resource_type), Some(counts)) = (types.first(), counts(&case.expect)) else {
            continue;
        };
        for (name, value) in &parameters {
            for (kind, column) in cells(definitions, resource_type, name, value) {
                let cell = table.entry((row(kind), column)).or_default();
                cell.found += counts.found;
                cell.refused += counts.refused;
            }
        }
    }
    table
}

/// The cells without a case, as `kind :modifier` and `kind prefix`.
pub fn empty(table: &Table) -> Vec<String> {
    let mut empty = Vec::new();
    for kind in KINDS {
        let prefixes = PREFIXES.iter().filter(|_| has_prefixes(kind));
        for column in MODIFIERS.iter().chain(prefixes).chain(&[""]) {
            if !table.contains_key(&(row(kind), (*column).to_owned())) {
                empty.push(format!("{} {column}", row(kind)));
            }
        }
    }
    empty
}

/// The table as text: the number of cases that find something, and of those refused after a `!`.
pub fn shown(table: &Table) -> String {
    let mut text = String::new();
    for (columns, width) in [(&MODIFIERS[..], 14), (&PREFIXES[..], 8)] {
        text += &format!("{:10}", "");
        for column in columns {
            text += &format!("{column:>width$}");
        }
        text.push('\n');
        for kind in KINDS {
            text += &format!("{:10}", row(kind));
            for column in columns {
                let cell = match table.get(&(row(kind), (*column).to_owned())) {
                    None if PREFIXES.contains(column) && !has_prefixes(kind) => String::new(),
                    None => ".".to_owned(),
                    Some(Cell { found, refused: 0 }) => found.to_string(),
                    Some(Cell { found: 0, refused }) => format!("!{refused}"),
                    Some(Cell { found, refused }) => format!("{found} !{refused}"),
                };
                text += &format!("{cell:>width$}");
            }
            text.push('\n');
        }
        text.push('\n');
    }
    text
}

/// A case that finds nothing proves little.
fn counts(expect: &Expect) -> Option<Cell> {
    let (found, refused) = match expect {
        Expect::Found(ids) if ids.is_empty() => return None,
        Expect::Found(_) => (1, 0),
        Expect::Refused(_) => (0, 1),
    };
    Some(Cell { found, refused })
}

fn row(kind: ParameterType) -> String {
    format!("{kind:?}").to_lowercase()
}

/// What the last parameter of a name with chains and `_has` fills.
fn cells(
    definitions: &Definitions,
    resource_type: &str,
    name: &str,
    value: &str,
) -> Vec<(ParameterType, String)> {
    if let Some(rest) = name.strip_prefix("_has:") {
        let mut parts = rest.splitn(3, ':');
        return match (parts.next(), parts.next(), parts.next()) {
            (Some(source), Some(_), Some(rest)) => cells(definitions, source, rest, value),
            _ => Vec::new(),
        };
    }
    let (head, rest) = match name.split_once('.') {
        Some((head, rest)) => (head, Some(rest)),
        None => (name, None),
    };
    let (code, modifier) = head.split_once(':').unwrap_or((head, ""));
    let Some(parameter) = definitions.search_parameter(resource_type, code) else {
        return Vec::new();
    };
    if let Some(rest) = rest {
        let targets = match modifier {
            "" => parameter.targets.clone(),
            target => vec![target.to_owned()],
        };
        let each = |target: &String| cells(definitions, target, rest, value);
        let mut found = targets.iter().map(each);
        return found.find(|cells| !cells.is_empty()).unwrap_or_default();
    }
    of_values(parameter, modifier, value)
}

fn of_values(
    parameter: &SearchParameter,
    modifier: &str,
    value: &str,
) -> Vec<(ParameterType, String)> {
    let kind = parameter.kind;
    if !modifier.is_empty() {
        let column = match modifier.starts_with(|c: char| c.is_ascii_uppercase()) {
            true => "[type]",
            false => modifier,
        };
        return vec![(kind, column.to_owned())];
    }
    let mut columns = vec![(kind, String::new())];
    if has_prefixes(kind) {
        for part in value.split([',', '$']) {
            let prefix = PREFIXES.iter().find(|prefix| {
                let number = part.strip_prefix(**prefix).unwrap_or_default();
                number.starts_with(|c: char| c.is_ascii_digit() || c == '-')
            });
            columns.extend(prefix.map(|prefix| (kind, (*prefix).to_owned())));
        }
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_has_a_case() {
        let definitions = Definitions::load(&[]).unwrap();
        let table = table(&definitions, &crate::suites());
        let empty = empty(&table);
        assert!(empty.is_empty(), "{}{}", shown(&table), empty.join("\n"));
    }
}
