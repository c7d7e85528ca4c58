//! Code maps: standard R5 ConceptMap resources (<https://hl7.org/fhir/R5/conceptmap.html>), read into one table each.
//!
//! Used: `group.source`, `group.target`, `group.element.code|target.code|target.display`, `group.unmapped` with mode `fixed` or
//! `use-source-code`. Refuses dependsOn, products and several targets for one code: those need a question asked, not a table.

use super::systems::upper;
use serde_json::Value as Json;
use std::collections::HashMap;

#[derive(Debug, Default)]
pub struct ConceptMap {
    /// The file's stem: the name rules use after `->`.
    pub name: String,
    /// `group.source` of the first group: the system of codes that came without one.
    pub source: Option<String>,
    targets: HashMap<String, Target>,
    unmapped: Unmapped,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    pub system: Option<String>,
    pub code: String,
    pub display: Option<String>,
}

#[derive(Debug, Default)]
enum Unmapped {
    #[default]
    Absent,
    Fixed(Target),
    UseSource(Option<String>),
}

/// What a map says about a code.
#[derive(Debug, PartialEq)]
pub enum Lookup {
    Target(Target),
    /// The map knows the code and says that it has no target.
    NoMap,
    Unknown,
}

impl ConceptMap {
    /// Reads a ConceptMap resource.
    ///
    /// # Errors
    /// What is missing or not used by this program, in a sentence.
    pub fn read(name: &str, json: &Json) -> Result<ConceptMap, String> {
        if json["resourceType"] != "ConceptMap" {
            return Err("this is no ConceptMap".into());
        }
        let mut map = ConceptMap {
            name: name.to_owned(),
            ..ConceptMap::default()
        };
        let groups = json["group"].as_array().ok_or("group is missing")?;
        for group in groups {
            let system = group["target"].as_str().map(str::to_owned);
            if map.source.is_none() {
                map.source = group["source"].as_str().map(str::to_owned);
            }
            for element in group["element"]
                .as_array()
                .ok_or("group.element is missing")?
            {
                map.element(element, system.as_deref())?;
            }
            match group["unmapped"]["mode"].as_str() {
                None => {}
                Some("fixed") => {
                    map.unmapped = Unmapped::Fixed(Target {
                        system,
                        code: text(&group["unmapped"], "code")?,
                        display: group["unmapped"]["display"].as_str().map(str::to_owned),
                    });
                }
                Some("use-source-code") => map.unmapped = Unmapped::UseSource(system),
                Some(mode) => return Err(format!("unmapped.mode {mode} is not supported")),
            }
        }
        Ok(map)
    }

    fn element(&mut self, element: &Json, system: Option<&str>) -> Result<(), String> {
        let code = text(element, "code")?;
        let none = Vec::new();
        let target = match element["target"].as_array().unwrap_or(&none).as_slice() {
            [] => {
                self.targets.entry(code).or_insert(NO_MAP);
                return Ok(());
            }
            [target] => target,
            _ => return Err(format!("{code} has more than one target")),
        };
        if target.get("dependsOn").is_some() || target.get("product").is_some() {
            return Err(format!("{code}: dependsOn and product are not supported"));
        }
        let target = Target {
            system: system.map(str::to_owned),
            code: text(target, "code")?,
            display: target["display"].as_str().map(str::to_owned),
        };
        match self.targets.insert(code.clone(), target) {
            Some(known) if known != NO_MAP => Err(format!("{code} is mapped twice")),
            _ => Ok(()),
        }
    }

    /// Codes as they are written, else in capitals: v2 tables are, some senders are not.
    pub fn look_up(&self, code: &str) -> Lookup {
        let exact = self.targets.get(code);
        match exact.or_else(|| self.targets.get(upper(code).as_ref())) {
            Some(target) if *target == NO_MAP => Lookup::NoMap,
            Some(target) => Lookup::Target(target.clone()),
            None => match &self.unmapped {
                Unmapped::Absent => Lookup::Unknown,
                Unmapped::Fixed(target) => Lookup::Target(target.clone()),
                Unmapped::UseSource(system) => Lookup::Target(Target {
                    system: system.clone(),
                    code: code.to_owned(),
                    display: None,
                }),
            },
        }
    }
}

/// Stands in the table for a code that has no target; no real target code is empty.
const NO_MAP: Target = Target {
    system: None,
    code: String::new(),
    display: None,
};

fn text(json: &Json, name: &str) -> Result<String, String> {
    match json[name].as_str() {
        Some(text) if !text.is_empty() => Ok(text.to_owned()),
        _ => Err(format!("{name} is missing")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn code(map: &Json, code: &str) -> String {
        match ConceptMap::read("t", map).map(|map| map.look_up(code)) {
            Ok(Lookup::Target(target)) => target.code,
            Ok(other) => format!("{other:?}"),
            Err(reason) => reason,
        }
    }

    #[test]
    fn looks_up() {
        let group = |rest: Json| {
            let mut group = json!({"source": "s", "target": "t", "element": [
                {"code": "A", "target": [{"code": "a"}]}, {"code": "B", "noMap": true}]});
            group
                .as_object_mut()
                .unwrap()
                .extend(rest.as_object().unwrap().clone());
            json!({"resourceType": "ConceptMap", "group": [group]})
        };
        let fixed = group(json!({"unmapped": {"mode": "fixed", "code": "z"}}));
        let same = group(json!({"unmapped": {"mode": "use-source-code"}}));
        for (map, asked, expect) in [
            (&group(json!({})), "A", "a"),
            (&group(json!({})), "a", "a"),
            (&group(json!({})), "B", "NoMap"),
            (&group(json!({})), "C", "Unknown"),
            (&fixed, "C", "z"),
            (&same, "C", "C"),
            (
                &group(json!({"unmapped": {"mode": "other-map"}})),
                "A",
                "unmapped.mode other-map is not supported",
            ),
            (
                &group(
                    json!({"element": [{"code": "A", "target": [{"code": "a"}, {"code": "b"}]}]}),
                ),
                "A",
                "A has more than one target",
            ),
            (
                &json!({"resourceType": "ConceptMap"}),
                "A",
                "group is missing",
            ),
            (&json!({}), "A", "this is no ConceptMap"),
        ] {
            assert_eq!(code(map, asked), expect, "{map}");
        }
    }
}
