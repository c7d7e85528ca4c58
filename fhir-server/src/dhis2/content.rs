//! The data folder `mappings/dhis2/`: one YAML file per target, data set, indicator and dimension; a file's name is its id.
//!
//! Refused, each with file, line and reason: unknown folders, keys and ids, wrong values, a search the server would refuse, cells that
//! meet each other, options without a category option combo.

use super::answer::ErrorClasses;
use super::data_set::DataSet;
use super::dimension::Dimension;
use super::indicator::Indicator;
use super::target::Target;
use fhir_definitions::{DataError, DataFile, Definitions};
use hl7_mllp_listener::mapping::yaml;
use serde::de::DeserializeOwned;
use serde_saphyr::{Location, Spanned};
use std::collections::BTreeMap;

/// Everything `mappings/dhis2/` says, checked. By id.
#[derive(Debug, Default)]
pub struct Content {
    pub targets: BTreeMap<String, Target>,
    pub dimensions: BTreeMap<String, Dimension>,
    pub indicators: BTreeMap<String, Indicator>,
    pub data_sets: BTreeMap<String, DataSet>,
    pub errors: ErrorClasses,
}

impl Content {
    /// Reads the files of the folder; paths are taken as `…/<folder>/<id>.yaml`. No files: nothing to report to DHIS2.
    ///
    /// # Errors
    /// One [`DataError`] per problem found.
    pub fn load(files: &[DataFile], definitions: &Definitions) -> Result<Content, Vec<DataError>> {
        let mut content = Content::default();
        let mut errors = Vec::new();
        let mut data_sets = Vec::new();
        for file in files.iter().map(Source::new) {
            let read = match file.folder {
                "targets" => {
                    Target::read(&file).map(|target| insert(&mut content.targets, &file, target))
                }
                "dimensions" => Dimension::read(&file)
                    .map(|dimension| insert(&mut content.dimensions, &file, dimension)),
                "indicators" => Indicator::read(&file, definitions)
                    .map(|indicator| insert(&mut content.indicators, &file, indicator)),
                "datasets" => {
                    data_sets.push(file);
                    Ok(())
                }
                _ if file.id == "errors" => {
                    ErrorClasses::read(&file).map(|classes| content.errors = classes)
                }
                _ => Err(vec![file.error(
                    None,
                    "not a file of targets/, datasets/, indicators/ or dimensions/",
                )]),
            };
            errors.extend(read.err().into_iter().flatten());
        }
        for file in &data_sets {
            match DataSet::read(file, &content) {
                Ok(data_set) => insert(&mut content.data_sets, file, data_set),
                Err(found) => errors.extend(found),
            }
        }
        if errors.is_empty() {
            Ok(content)
        } else {
            Err(errors)
        }
    }
}

fn insert<T>(into: &mut BTreeMap<String, T>, file: &Source<'_>, item: T) {
    into.insert(file.id.to_string(), item);
}

/// A file being read.
pub struct Source<'a> {
    path: &'a str,
    bytes: &'a [u8],
    /// The name of the folder it is in.
    folder: &'a str,
    /// Its name without `.yaml`.
    pub id: &'a str,
}

impl<'a> Source<'a> {
    fn new(file: &'a DataFile) -> Source<'a> {
        let (folders, name) = file.path.rsplit_once('/').unwrap_or(("", &file.path));
        Source {
            path: &file.path,
            bytes: &file.bytes,
            folder: folders.rsplit('/').next().unwrap_or(folders),
            id: name.strip_suffix(".yaml").unwrap_or(name),
        }
    }

    /// The file's content; the shape refuses keys it does not know.
    ///
    /// # Errors
    /// One, with its line.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Vec<DataError>> {
        yaml::check_line_ends(self.bytes).map_err(|fault| {
            vec![DataError {
                file: self.path.to_string(),
                place: format!("line {}", fault.line),
                reason: fault.reason,
            }]
        })?;
        serde_saphyr::from_slice(self.bytes).map_err(|error| {
            let reason = error.without_snippet().to_string();
            vec![self.error(error.location(), reason)]
        })
    }

    /// A problem with this value.
    pub fn at<T>(&self, value: &Spanned<T>, reason: impl Into<String>) -> DataError {
        self.error(Some(value.referenced), reason)
    }

    /// A problem at this place; without one, with the file as a whole.
    pub fn error(&self, place: Option<Location>, reason: impl Into<String>) -> DataError {
        DataError {
            file: self.path.to_string(),
            place: place.map_or("line 1".into(), |place| {
                format!("line {}, column {}", place.line(), place.column())
            }),
            reason: reason.into(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The files of the project.
    pub(crate) fn files() -> Vec<DataFile> {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../mappings/dhis2");
        let mut files = Vec::new();
        for folder in ["", "targets", "dimensions", "indicators", "datasets"] {
            for entry in std::fs::read_dir(format!("{root}/{folder}")).unwrap() {
                let entry = entry.unwrap();
                let name = entry.file_name().into_string().unwrap();
                if name.ends_with(".yaml") {
                    files.push(DataFile {
                        path: format!("dhis2/{folder}/{name}").replace("//", "/"),
                        bytes: std::fs::read(entry.path()).unwrap(),
                    });
                }
            }
        }
        files
    }

    pub(crate) fn content() -> Content {
        Content::load(&files(), &Definitions::load(&[]).unwrap()).unwrap()
    }

    #[test]
    fn the_projects_files_load() {
        let content = content();
        assert_eq!(content.data_sets["opd-monthly"].cells.len(), 4);
    }

    /// Changes one text of one file and expects one problem.
    fn check(definitions: &Definitions, path: &str, from: &str, to: &str, expect: &str) {
        let mut files = files();
        let file = files
            .iter_mut()
            .find(|file| file.path == format!("dhis2/{path}"))
            .unwrap();
        let text = String::from_utf8(file.bytes.clone()).unwrap();
        assert!(text.contains(from), "{path} {from}");
        file.bytes = text.replacen(from, to, 1).into_bytes();
        let errors = Content::load(&files, definitions).expect_err(to);
        let found: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert!(
            found[0].starts_with(&format!("dhis2/{path}: line ")) && found[0].contains(expect),
            "{found:?}\n{expect}"
        );
    }

    #[test]
    fn wrong_files() {
        let definitions = Definitions::load(&[]).unwrap();
        for (path, from, to, expect) in [
            (
                "targets/national.yaml",
                "attemptsMax: 4",
                "attemptsMax: 0",
                "line 9, column 14: attemptsMax is 1 to 10",
            ),
            (
                "targets/national.yaml",
                "attemptsMax",
                "attempts",
                "attempts",
            ),
            (
                "targets/national.yaml",
                "attemptsMax",
                "\rattemptsMax",
                "line 9: a carriage return",
            ),
            (
                "targets/national.yaml",
                "+00:00",
                "UTC",
                "utcOffset is like",
            ),
            (
                "targets/national.yaml",
                "dataSet: code",
                "dataSet: kode",
                "an id scheme is",
            ),
            (
                "targets/national.yaml",
                "tokenVariable: ",
                "urlVariable: ",
                "duplicate",
            ),
            (
                "dimensions/sex.yaml",
                "[male]",
                "[female]",
                "in two options",
            ),
            (
                "dimensions/age-under-5.yaml",
                "from: 5",
                "from: 4",
                "overlaps",
            ),
            (
                "dimensions/age-under-5.yaml",
                "unit: years",
                "unit: decades",
                "decades",
            ),
            (
                "indicators/outpatients.yaml",
                "date: date-start",
                "date: when",
                "Encounter has no date search parameter",
            ),
            (
                "indicators/outpatients.yaml",
                "subject: subject",
                "subject: class",
                "no reference search parameter",
            ),
            (
                "indicators/malaria-rdt-done.yaml",
                "encounter.service-provider",
                "encounter.provider",
                "no reference search parameter provider",
            ),
            (
                "indicators/malaria-rdt-done.yaml",
                "status=final",
                "stattus=final",
                "stattus",
            ),
            (
                "datasets/opd-monthly.yaml",
                "target: national",
                "target: regional",
                "line 1, column 9: there is no target",
            ),
            (
                "datasets/opd-monthly.yaml",
                "periodType: Monthly",
                "periodType: Lunar",
                "Lunar",
            ),
            (
                "datasets/opd-monthly.yaml",
                "indicator: outpatients",
                "indicator: inpatients",
                "no indicator",
            ),
            (
                "datasets/opd-monthly.yaml",
                "[sex, age-under-5]",
                "[sex, age]",
                "no dimension",
            ),
            (
                "datasets/opd-monthly.yaml",
                "female, over5: FEMALE_5_AND_OVER",
                "",
                "female, over5 has no category option combo",
            ),
            (
                "datasets/opd-monthly.yaml",
                "female, over5",
                "female, over6",
                "female, over6 is not one option of each dimension",
            ),
            (
                "datasets/opd-monthly.yaml",
                "MALE_5_AND_OVER",
                "MALE_UNDER_5",
                "another cell has this",
            ),
            ("errors.yaml", "E7601,", "E7600,", "there twice"),
            ("errors.yaml", "E7601,", "7601,", "an error code is like"),
        ] {
            check(&definitions, path, from, to, expect);
        }
    }
}
