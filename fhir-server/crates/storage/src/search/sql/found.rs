//! Sort values that are looked up for each match: behind references, in stored resources, of several types.

use super::order::measure;
use super::{Selection, Sql, TARGET};
use crate::search::flat::{Found, FoundValue, Order, StoredText, TextForm};

impl Sql {
    /// Joins the value of the sort key at `index` to each row of `m`, as `k{index}.value`.
    pub(super) fn found_join(
        &mut self,
        index: usize,
        order: Order,
        found: &Found,
        selection: Selection<'_>,
    ) {
        if found.value == FoundValue::Scores {
            let (rows, values): (Vec<i64>, Vec<f64>) = selection.scores.iter().unzip();
            self.push(" LEFT JOIN unnest(").bind(rows);
            self.push(", ").bind(values);
            self.push(&format!(") k{index}(pk, value) ON k{index}.pk = m.pk"));
            return;
        }
        let pick = if order.descending { "max" } else { "min" };
        self.push(" LEFT JOIN LATERAL (SELECT ");
        let row = match found.links.len() {
            0 => "m".to_owned(),
            links => format!("t{index}_{links}"),
        };
        match &found.value {
            FoundValue::Dates(keys) => {
                self.push(&format!("{pick}(v.lo) AS value FROM "));
                self.linked(index, found, &row, "sp_date v");
                self.of_keys(keys);
                self.push(") v");
            }
            FoundValue::Strings(all) => {
                self.push(&format!("{pick}(v.value) AS value FROM "));
                self.linked(index, found, &row, "sp_string v");
                self.push(" AND (");
                for (place, rows) in all.iter().enumerate() {
                    self.push(if place > 0 { " OR " } else { "" });
                    self.strings_of("v", *rows);
                }
                self.push(")) v");
            }
            FoundValue::Numbers(keys) => {
                let measure = measure(selection.scales);
                self.push(&format!("{pick}({measure}) AS value FROM "));
                self.linked(index, found, &row, "sp_quantity v");
                self.of_keys(keys);
                self.push(") v");
            }
            FoundValue::Ids => {
                self.push(&format!("{pick}(v.id) AS value FROM "));
                self.linked(index, found, &row, "resource v");
                self.push(") v");
            }
            FoundValue::Updated => {
                self.push(&format!(
                    "{pick}((extract(epoch FROM v.last_updated) * 1000000)::bigint) AS value FROM "
                ));
                self.linked(index, found, &row, "entry v");
                self.push(") v");
            }
            FoundValue::Texts(texts) => {
                self.push(&format!("{pick}(x.value) AS value FROM "));
                self.linked(index, found, &row, "resource v");
                self.push(") v");
                self.push(" CROSS JOIN LATERAL (");
                self.texts(texts);
                self.push(") x");
            }
            FoundValue::Scores => {}
        }
        self.conditions(index, found);
        self.push(&format!(") k{index} ON true"));
    }

    /// From the match along the references, to the rows of `table` that are of the resource at their end; `) v` closes it behind further conditions.
    fn linked(&mut self, index: usize, found: &Found, row: &str, table: &str) {
        if found.links.is_empty() {
            self.push(&format!("(SELECT v.* FROM {table} WHERE v.pk = m.pk"));
        } else {
            self.push(&format!("entry t{index}_0"));
            for (step, keys) in found.links.iter().enumerate() {
                let next = step + 1;
                self.push(&format!(
                    " CROSS JOIN LATERAL (SELECT r & {TARGET} AS pk FROM unnest(t{index}_{step}.refs) r WHERE r >> 40 = ANY("
                ));
                self.bind(keys.iter().copied().map(i64::from).collect::<Vec<_>>());
                self.push(&format!(
                    ")) r{index}_{next} JOIN entry t{index}_{next} ON t{index}_{next}.pk = r{index}_{next}.pk"
                ));
            }
            self.push(&format!(
                " CROSS JOIN LATERAL (SELECT v.* FROM {table} WHERE v.pk = {row}.pk"
            ));
        }
    }

    fn of_keys(&mut self, keys: &[i16]) {
        self.push(" AND v.key = ANY(").bind(keys.to_vec()).push(")");
    }

    /// The match itself, and the types that the last reference may lead to.
    fn conditions(&mut self, index: usize, found: &Found) {
        if found.links.is_empty() {
            return;
        }
        self.push(&format!(
            " WHERE t{index}_0.pk = m.pk AND t{index}_{}.type = ANY(",
            found.links.len()
        ));
        self.bind(found.types.clone()).push(")");
    }

    /// `(value)` of the resource `v`.
    fn texts(&mut self, texts: &[StoredText]) {
        for (place, text) in texts.iter().enumerate() {
            if place > 0 {
                self.push(" UNION ALL ");
            }
            let (before, after) = match text.form {
                TextForm::Code => ("lower((", ") COLLATE \"C\")"),
                TextForm::AsWritten => ("((", ") COLLATE \"C\")"),
                // A contained resource (`#id`) has no name beyond its container.
                TextForm::Reference => (
                    "regexp_replace(substring((",
                    ") COLLATE \"C\" FROM '^[^#].*$'), '^(?:.*/)?([A-Z][A-Za-z]*/[A-Za-z0-9.-]{1,64})(?:/_history/[^/]*)?$', '\\1')",
                ),
            };
            self.push(&format!("SELECT {before}q.value #>> '{{}}'{after} AS value FROM jsonb_path_query(v.content, "));
            self.bind(text.path.clone());
            self.push("::text::jsonpath, '{}', true) q(value) WHERE v.type = ");
            self.bind(text.type_number);
        }
    }
}
