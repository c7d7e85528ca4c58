//! The binding of indicators to a DHIS2 data set: `datasets/*.yaml`.

use super::content::{Content, Source};
use super::dimension::Dimension;
use super::indicator::Indicator;
use super::period::PeriodType;
use fhir_definitions::DataError;
use serde::Deserialize;
use serde_saphyr::Spanned;
use std::collections::{BTreeMap, BTreeSet};

/// Most values of one org unit and period: they are one request, which DHIS2's documents advise to keep this small.
const VALUES_MAX: usize = 1_000;

/// A data set, checked: its cells do not meet, and each combination of options has one category option combo.
#[derive(Clone, Debug)]
pub struct DataSet {
    /// Id of the target.
    pub target: String,
    /// The data set, as the target's id scheme names it.
    pub data_set: String,
    pub period_type: PeriodType,
    pub attribute_option_combo: Option<String>,
    pub org_units: OrgUnits,
    pub zero: Zero,
    pub cells: Vec<Cell>,
}

/// How the place of an event becomes an org unit. The first way that gives one is taken.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct OrgUnits {
    /// `system|value` of an identifier -> org unit; `system|`: whatever the value.
    #[serde(default)]
    pub map: BTreeMap<String, String>,
    /// The value of an identifier of this system is the org unit.
    pub identifier_system: Option<String>,
    /// The org unit of events whose place is not known: for a server of one site.
    pub otherwise: Option<String>,
}

/// What is sent where nothing was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Zero {
    /// Nothing: no report is not the same as zero.
    Omit,
    /// 0, for each cell of each org unit that is named here or had an event.
    Explicit,
}

/// A data element's share of an indicator.
#[derive(Clone, Debug)]
pub struct Cell {
    pub data_element: String,
    /// Id of the indicator.
    pub indicator: String,
    /// Ids of the dimensions.
    pub by: Vec<String>,
    /// One option per dimension -> category option combo. `None`: the data element's default one.
    pub category_option_combos: BTreeMap<Vec<String>, Option<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct DataSetFile {
    target: Spanned<String>,
    data_set: String,
    period_type: PeriodType,
    attribute_option_combo: Option<String>,
    org_units: OrgUnits,
    zero: Zero,
    cells: Vec<Spanned<CellFile>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct CellFile {
    data_element: String,
    indicator: Spanned<String>,
    #[serde(default)]
    by: Vec<Spanned<String>>,
    /// Options separated by commas, in the order of `by`.
    #[serde(default)]
    category_option_combos: BTreeMap<String, Spanned<String>>,
}

impl DataSet {
    /// # Errors
    /// One per problem. What the file refers to must be in `content` already.
    pub fn read(source: &Source<'_>, content: &Content) -> Result<DataSet, Vec<DataError>> {
        let file: DataSetFile = source.parse()?;
        let mut errors = Vec::new();
        if !content.targets.contains_key(&file.target.value) {
            errors.push(source.at(&file.target, "there is no target of this name"));
        }
        let mut taken = BTreeSet::new();
        let mut cells = Vec::new();
        for written in &file.cells {
            let cell = read_cell(source, &written.value, content, &mut errors);
            for combo in cell.category_option_combos.values() {
                if !taken.insert((cell.data_element.clone(), combo.clone())) {
                    errors.push(source.at(
                        written,
                        "another cell has this data element and category option combo",
                    ));
                }
            }
            cells.push(cell);
        }
        if taken.len() > VALUES_MAX {
            let reason =
                format!("at most {VALUES_MAX} values go into one request: divide the data set");
            errors.push(source.error(None, reason));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(DataSet {
            target: file.target.value,
            data_set: file.data_set,
            period_type: file.period_type,
            attribute_option_combo: file.attribute_option_combo,
            org_units: file.org_units,
            zero: file.zero,
            cells,
        })
    }

    /// The indicators that the cells count, each once.
    pub fn indicators<'a>(&'a self, content: &'a Content) -> BTreeMap<&'a str, &'a Indicator> {
        self.cells
            .iter()
            .filter_map(|cell| {
                Some((
                    cell.indicator.as_str(),
                    content.indicators.get(&cell.indicator)?,
                ))
            })
            .collect()
    }
}

impl OrgUnits {
    /// The org unit of a place with these identifiers (system, value).
    pub fn resolve<'a>(&'a self, places: &'a [(String, String)]) -> Option<&'a str> {
        let mapped = |key: String| self.map.get(&key).map(String::as_str);
        let known = places.iter().find_map(|(system, value)| {
            let named =
                mapped(format!("{system}|{value}")).or_else(|| mapped(format!("{system}|")));
            named.or_else(|| (self.identifier_system.as_ref() == Some(system)).then_some(value))
        });
        known.or(self.otherwise.as_deref())
    }
}

fn read_cell(
    source: &Source<'_>,
    file: &CellFile,
    content: &Content,
    errors: &mut Vec<DataError>,
) -> Cell {
    if !content.indicators.contains_key(&file.indicator.value) {
        errors.push(source.at(&file.indicator, "there is no indicator of this name"));
    }
    let mut wanted: BTreeSet<Vec<String>> = BTreeSet::from([Vec::new()]);
    for dimension in &file.by {
        match content.dimensions.get(&dimension.value) {
            Some(found) => wanted = product(&wanted, found),
            None => errors.push(source.at(dimension, "there is no dimension of this name")),
        }
    }
    let mut combos = BTreeMap::new();
    for (options, combo) in &file.category_option_combos {
        let options: Vec<String> = options
            .split(',')
            .map(|option| option.trim().to_string())
            .collect();
        if !wanted.remove(&options) {
            errors.push(source.at(
                combo,
                format!(
                    "{} is not one option of each dimension, or is there twice",
                    options.join(", ")
                ),
            ));
        }
        combos.insert(options, Some(combo.value.clone()));
    }
    if file.by.is_empty() && file.category_option_combos.is_empty() {
        combos.insert(Vec::new(), None);
    } else {
        errors.extend(wanted.iter().map(|options| {
            source.at(
                &file.indicator,
                format!("{} has no category option combo", options.join(", ")),
            )
        }));
    }
    Cell {
        data_element: file.data_element.clone(),
        indicator: file.indicator.value.clone(),
        by: file
            .by
            .iter()
            .map(|dimension| dimension.value.clone())
            .collect(),
        category_option_combos: combos,
    }
}

/// Each combination so far with each option of one more dimension.
fn product(combinations: &BTreeSet<Vec<String>>, dimension: &Dimension) -> BTreeSet<Vec<String>> {
    let longer = combinations.iter().flat_map(|combination| {
        dimension.options().into_iter().map(|option| {
            let mut longer = combination.clone();
            longer.push(option.to_string());
            longer
        })
    });
    longer.collect()
}
