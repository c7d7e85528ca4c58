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
