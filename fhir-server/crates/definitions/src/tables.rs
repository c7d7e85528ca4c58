//! The committed R5 tables (`r5/*.gz`, made by `r5/generate.py`), decompressed when first asked for and kept for the life of the
//! process, so that everything read from them can borrow (`&'static str`) instead of being copied.

use flate2::read::GzDecoder;
use std::io::Read;
use std::sync::OnceLock;

/// One committed table.
pub(crate) struct Table {
    gzip: &'static [u8],
    text: OnceLock<String>,
}

impl Table {
    const fn new(gzip: &'static [u8]) -> Table {
        Table {
            gzip,
            text: OnceLock::new(),
        }
    }

    /// The whole text.
    pub(crate) fn text(&'static self) -> &'static str {
        self.text.get_or_init(|| {
            let mut text = String::new();
            GzDecoder::new(self.gzip)
                .read_to_string(&mut text)
                .expect("a committed table is gzip of UTF-8");
            text
        })
    }

    /// The cells of each row of a `.tsv` table.
    pub(crate) fn rows(&'static self) -> impl Iterator<Item = Row> {
        self.text().lines().map(|line| Row(line.split('\t')))
    }
}

/// The cells of one row, read from left to right.
pub(crate) struct Row(std::str::Split<'static, char>);

impl Row {
    /// The next cell; empty past the end.
    pub(crate) fn cell(&mut self) -> &'static str {
        self.0.next().unwrap_or_default()
    }

    /// The next cell, a list; an empty cell is an empty list.
    pub(crate) fn list(&mut self, separator: char) -> impl Iterator<Item = &'static str> + use<> {
        self.cell().split(separator).filter(|item| !item.is_empty())
    }
}

pub(crate) static STRUCTURES: Table = Table::new(include_bytes!("../r5/structures.tsv.gz"));
pub(crate) static CONSTRAINTS: Table = Table::new(include_bytes!("../r5/constraints.tsv.gz"));
pub(crate) static PARAMETERS: Table = Table::new(include_bytes!("../r5/parameters.tsv.gz"));
pub(crate) static COMPARTMENTS: Table = Table::new(include_bytes!("../r5/compartments.tsv.gz"));
pub(crate) static TERMINOLOGY: Table = Table::new(include_bytes!("../r5/terminology.jsonl.gz"));
pub(crate) static OPERATIONS: Table = Table::new(include_bytes!("../r5/operations.jsonl.gz"));
