//! What the values of messages name and was found before. The practitioners, organizations, places and devices of a site are few and stand in
//! nearly every message; who is only named decides nothing ([`crate::mapping::program::Map::of_value`]), so its identifier is not looked up again.
//!
//! Kept is which resource in which version an identifier was found on. Whoever relies on that reads the version in its transaction, which fails
//! where it is another one by now: changed, or deleted. What is not seen is a second resource that gets the same identifier; the first one
//! goes on being named. Bounded: when it is full, it is emptied.

use crate::mapping::program::{Map, Write};
use crate::mapping::{Draft, Mappings};
use crate::state::State;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Identifiers that are kept: a few megabytes.
const IDENTIFIERS_MAX: usize = 20_000;

/// Shared by the messages of a process. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Known(Arc<Mutex<HashMap<Name, Found>>>);

/// Type, system and value.
type Name = (String, String, String);

/// Where an identifier was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub id: String,
    /// `meta.versionId`.
    pub version: String,
}

impl Known {
    /// What a draft names, if that was found before and the message only names it.
    pub fn recall(&self, map: &Map, message_type: &str, draft: &Draft) -> Option<Found> {
        let name = name(map, message_type, draft)?;
        self.lock().get(&name).cloned()
    }

    /// Keeps what the drafts were found to name.
    pub fn keep(&self, mappings: &Mappings, message_type: &str, drafts: &[Draft], state: &State) {
        for (index, draft) in drafts.iter().enumerate() {
            let map = &mappings.program.maps[draft.map];
            let Some(name) = name(map, message_type, draft) else {
                continue;
            };
            let id = state
                .id(index)
                .filter(|_| !state.ambiguous.contains(&index));
            let Some((id, current)) = id.and_then(|id| Some((id, state.current(&name.0, id)?)))
            else {
                continue;
            };
            let found = Found {
                id: id.to_owned(),
                version: current.version.clone(),
            };
            let mut known = self.lock();
            if known.len() >= IDENTIFIERS_MAX && !known.contains_key(&name) {
                known.clear();
            }
            known.insert(name, found);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Name, Found>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of what a value names by one identifier, and is not changed by the message.
fn name(map: &Map, message_type: &str, draft: &Draft) -> Option<Name> {
    let is_only_named = map.of_value && map.write(message_type) == Write::Create;
    match &draft.identifiers[..] {
        [(system, value)] if is_only_named => {
            Some((map.resource_type.clone(), system.clone(), value.clone()))
        }
        _ => None,
    }
}
