//! The keys `order` and `succession` of a resource map: what a status may become, and what follows what.

use super::{Fault, Node, parsed};
use crate::mapping::rule::{self, Atom};

/// The order of a status: a resource never goes back.
#[derive(Clone, Debug, PartialEq)]
pub struct Order {
    pub element: String,
    /// Codes of equal rank stand together, lowest first.
    pub ranks: Vec<Vec<String>>,
    /// A message with a lower status changes nothing at all (results); else it only leaves the status alone (visits).
    pub skip_lower: bool,
    /// At equal rank, an older value of this instant changes nothing.
    pub newer: Option<String>,
}

/// A list whose items have a status and a period: what is active follows what was.
#[derive(Clone, Debug, PartialEq)]
pub struct Succession {
    pub element: String,
    /// Statuses of the resource in which something may begin or go on; empty: any.
    pub open: Vec<String>,
}

pub(in crate::mapping) struct OrderSource {
    pub order: Order,
    /// The statuses that the message takes back; a text with blanks between them.
    pub from: Option<(usize, Vec<Atom>)>,
}

pub(in crate::mapping) struct SuccessionSource {
    pub succession: Succession,
    /// The status of the item that the message takes back.
    pub back: Option<(usize, Vec<Atom>)>,
}

pub(super) fn read(node: &Node) -> Result<OrderSource, Fault> {
    let mut order = Order {
        element: "status".into(),
        ranks: Vec::new(),
        skip_lower: false,
        newer: None,
    };
    let mut from = None;
    for entry in node.map()? {
        match entry.key.as_str() {
            "element" => order.element = entry.node.text()?.to_owned(),
            "ranks" => {
                for rank in entry.node.list()? {
                    order.ranks.push(rank.texts()?);
                }
            }
            "lower" => {
                order.skip_lower = entry.one_of(["changes nothing", "keeps status"])? == 0;
            }
            "newer" => order.newer = Some(entry.node.text()?.to_owned()),
            "from" => from = Some((entry.line, parsed(&entry.node, rule::source)?.0)),
            _ => return Err(entry.unknown()),
        }
    }
    Ok(OrderSource { order, from })
}

pub(super) fn succession(node: &Node) -> Result<SuccessionSource, Fault> {
    let (mut element, mut open, mut back) = (None, Vec::new(), None);
    for entry in node.map()? {
        match entry.key.as_str() {
            "element" => element = Some(entry.node.text()?.to_owned()),
            "while" => open = entry.node.texts()?,
            "back" => back = Some((entry.line, parsed(&entry.node, rule::source)?.0)),
            _ => return Err(entry.unknown()),
        }
    }
    let element = element.ok_or_else(|| Fault::new(node.line, "`element` is missing"))?;
    Ok(SuccessionSource {
        succession: Succession { element, open },
        back,
    })
}
