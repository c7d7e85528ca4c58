//! Figures to data value sets, one for each org unit
//! (<https://docs.dhis2.org/en/develop/using-the-api/dhis-core-version-master/data.html#webapi_data_values>).
//!
//! What both kinds of DHIS2 servers understand: every id scheme is said, values are strings, no key is there twice, the data set is in
//! the envelope, nothing is completed in passing, and a zero is sent only where the binding says so.

use super::aggregate::{NotCounted, Tabulation};
use super::data_set::{DataSet, Zero};
use super::period::Period;
use super::target::IdSchemes;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What is to be reported for a data set and a period.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Id of the data set's file.
    pub id: String,
    pub data_set: DataSet,
    pub period: Period,
    pub slices: Vec<Slice>,
    /// In the order of the data set's cells.
    pub tabulations: Vec<Tabulation>,
    /// By indicator, how many resources have no date and so are in no period.
    pub undated: BTreeMap<String, u64>,
}

/// The part of one org unit: what DHIS2 accepts or refuses as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slice {
    pub org_unit: String,
    pub values: BTreeMap<ValueKey, u64>,
    /// Sent before and no longer counted: to be deleted there.
    pub gone: Vec<ValueKey>,
}

/// Which value of a slice.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ValueKey {
    pub data_element: String,
    /// `None`: the default one.
    pub category_option_combo: Option<String>,
}

/// Lays the figures out. `before`: by org unit, what earlier reports of this data set and period hold.
pub fn plan(
    id: &str,
    data_set: &DataSet,
    period: &Period,
    tabulations: Vec<Tabulation>,
    before: &BTreeMap<String, Vec<ValueKey>>,
) -> Plan {
    let mut org_units: BTreeSet<&str> =
        tabulations.iter().flat_map(Tabulation::org_units).collect();
    org_units.extend(before.keys().map(String::as_str));
    if data_set.zero == Zero::Explicit {
        org_units.extend(data_set.org_units.map.values().map(String::as_str));
        org_units.extend(data_set.org_units.otherwise.as_deref());
    }
    let slices = org_units.into_iter().map(|org_unit| {
        let mut values = BTreeMap::new();
        for (cell, tabulation) in data_set.cells.iter().zip(&tabulations) {
            for combo in cell.category_option_combos.values() {
                let counted = tabulation
                    .counts
                    .get(org_unit)
                    .and_then(|row| row.get(combo));
                if counted.is_some() || data_set.zero == Zero::Explicit {
                    let key = ValueKey {
                        data_element: cell.data_element.clone(),
                        category_option_combo: combo.clone(),
                    };
                    values.insert(key, counted.copied().unwrap_or(0));
                }
            }
        }
        let before = before.get(org_unit).into_iter().flatten();
        Slice {
            org_unit: org_unit.to_string(),
            gone: before
                .filter(|key| !values.contains_key(key))
                .cloned()
                .collect(),
            values,
        }
    });
    let slices = slices
        .filter(|slice| !slice.values.is_empty() || !slice.gone.is_empty())
        .collect();
    Plan {
        id: id.to_string(),
        data_set: data_set.clone(),
        period: period.clone(),
        slices,
        tabulations,
        undated: BTreeMap::new(),
    }
}

impl Plan {
    /// The dataValueSet of a slice.
    pub fn data_value_set(&self, slice: &Slice, schemes: &IdSchemes) -> Value {
        let value = |key: &ValueKey, rest: (&str, Value)| {
            let mut value = Map::new();
            value.insert("dataElement".into(), json!(key.data_element));
            if let Some(combo) = &key.category_option_combo {
                value.insert("categoryOptionCombo".into(), json!(combo));
            }
            value.insert(rest.0.into(), rest.1);
            Value::Object(value)
        };
        let counted = slice
            .values
            .iter()
            .map(|(key, count)| value(key, ("value", json!(count.to_string()))));
        let deleted = slice
            .gone
            .iter()
            .map(|key| value(key, ("deleted", json!(true))));
        let mut set = Map::new();
        set.insert("dataSet".into(), json!(self.data_set.data_set));
        set.insert("period".into(), json!(self.period.id));
        set.insert("orgUnit".into(), json!(slice.org_unit));
        if let Some(combo) = &self.data_set.attribute_option_combo {
            set.insert("attributeOptionCombo".into(), json!(combo));
        }
        set.insert("dataSetIdScheme".into(), json!(schemes.data_set));
        for (name, scheme) in schemes.of_values() {
            set.insert(name.into(), json!(scheme));
        }
        set.insert("dataValues".into(), counted.chain(deleted).collect());
        Value::Object(set)
    }

    /// Per cell, what was not counted and why: (data element, indicator, facts, reasons).
    pub fn not_counted(
        &self,
    ) -> impl Iterator<Item = (&str, &str, u64, &BTreeMap<NotCounted, u64>)> {
        self.data_set
            .cells
            .iter()
            .zip(&self.tabulations)
            .map(|(cell, tabulation)| {
                (
                    cell.data_element.as_str(),
                    cell.indicator.as_str(),
                    tabulation.facts,
                    &tabulation.not_counted,
                )
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dhis2::content::tests::content;
    use crate::dhis2::period::PeriodType;

    fn tabulations() -> Vec<Tabulation> {
        let row = |combo: Option<&str>, count| BTreeMap::from([(combo.map(str::to_string), count)]);
        let one = |org_unit: &str, row| Tabulation {
            counts: BTreeMap::from([(org_unit.to_string(), row)]),
            ..Tabulation::default()
        };
        vec![
            one("CLINIC_A", row(None, 7)),
            Tabulation::default(),
            Tabulation::default(),
            one("CLINIC_B", row(Some("MALE_UNDER_5"), 2)),
        ]
    }

    #[test]
    fn data_value_sets() {
        let content = content();
        let data_set = &content.data_sets["opd-monthly"];
        let period = PeriodType::Monthly.parse("2026-10").unwrap();
        let key = |data_element: &str| ValueKey {
            data_element: data_element.into(),
            category_option_combo: None,
        };
        let before = BTreeMap::from([
            (
                "CLINIC_A".to_string(),
                vec![key("MALARIA_RDT_DONE"), key("OUTPATIENTS")],
            ),
            ("CLINIC_C".to_string(), vec![key("OUTPATIENTS")]),
            ("CLINIC_D".to_string(), vec![]),
        ]);
        let plan = plan("opd-monthly", data_set, &period, tabulations(), &before);
        let schemes = &content.targets["national"].id_schemes;
        let sets: Vec<String> = plan
            .slices
            .iter()
            .map(|slice| plan.data_value_set(slice, schemes).to_string())
            .collect();
        let schemes = r#""dataSetIdScheme":"code","dataElementIdScheme":"code","orgUnitIdScheme":"code","categoryOptionComboIdScheme":"code","attributeOptionComboIdScheme":"code""#;
        let expect = [
            ("CLINIC_A", r#"{"dataElement":"MALARIA_RDT_DONE","value":"7"},{"dataElement":"OUTPATIENTS","deleted":true}"#),
            ("CLINIC_B", r#"{"dataElement":"OUTPATIENT_VISITS","categoryOptionCombo":"MALE_UNDER_5","value":"2"}"#),
            ("CLINIC_C", r#"{"dataElement":"OUTPATIENTS","deleted":true}"#),
        ]
        .map(|(org_unit, values)| {
            format!(r#"{{"dataSet":"OPD_MONTHLY","period":"202610","orgUnit":"{org_unit}",{schemes},"dataValues":[{values}]}}"#)
        });
        assert_eq!(sets, expect);
    }

    /// A zero is sent only where the binding says so: then for every cell of every org unit it names.
    #[test]
    fn zeros() {
        let content = content();
        let mut data_set = content.data_sets["opd-monthly"].clone();
        data_set.zero = Zero::Explicit;
        data_set.org_units.otherwise = Some("CLINIC_C".into());
        let period = PeriodType::Monthly.parse("2026-10").unwrap();
        let plan = plan(
            "opd-monthly",
            &data_set,
            &period,
            tabulations(),
            &BTreeMap::new(),
        );
        let sums: Vec<(&str, usize, u64)> = plan
            .slices
            .iter()
            .map(|slice| {
                (
                    slice.org_unit.as_str(),
                    slice.values.len(),
                    slice.values.values().sum(),
                )
            })
            .collect();
        assert_eq!(
            sums,
            [("CLINIC_A", 7, 7), ("CLINIC_B", 7, 2), ("CLINIC_C", 7, 0)]
        );
    }
}
