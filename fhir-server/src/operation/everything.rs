//! `$everything` of a Patient, an Encounter and a Group (<https://hl7.org/fhir/R5/patient-operation-everything.html>): the compartment, of a group
//! those of its patients, and what the resources in it refer to. Page by page, each read from one state of the database.
//!
//! `start` and `end` are about the date of care; what has none stays in. `_type` and `_since` choose from all of it, so a page may hold little.
//! A resource of the compartment comes once, what it refers to on each page that does; the members of a group that a patient is in are not
//! followed. Refuses `_count` below 1 and types that there are not.

use crate::app::App;
use crate::bundle::searchset;
use crate::failure::Failure;
use crate::interaction::paging;
use crate::interaction::read::present;
use crate::operation::references::referenced;
use crate::operation::{Answer, Call};
use fhir_definitions::{Definitions, ParameterType, SearchParameter};
use fhir_model::{DateRange, IssueKind, PartialDate, Reference, ResourceKey, json};
use fhir_search::query::{
    ChainedClause, Clause, DateMatch, Modifier, Prefix, SortBy, SortKey, Total, ValueMatch,
};
use fhir_search::{Query, compartment};
use fhir_storage::{Page, SearchPage, Snapshot, StoredResource};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Resources of the compartment on a page without `_count`.
const COUNT_DEFAULT: usize = 100;
/// Most resources that a page may hold besides.
const REFERENCED_MAX: usize = 1_000;
/// Most patients of a group.
const MEMBERS_MAX: usize = 1_000;
/// Patients whose compartments are searched together: of more the search would compare too many references.
const OWNERS_AT_ONCE: usize = 25;
/// Most searches for a page that still has room.
const ROUNDS_MAX: usize = 10;

/// When care was given or planned, by the codes of search parameters; of a type the first that it has.
const CARE_DATES: [&str; 14] = [
    "date",
    "occurrence",
    "started",
    "effective",
    "collected",
    "whenhandedover",
    "authoredon",
    "authored",
    "authored-on",
    "sent",
    "event-date",
    "onset-date",
    "start-date",
    "datewritten",
];

pub async fn everything(app: &App, call: Call) -> Result<Answer, Failure> {
    let definitions = app.store.definitions();
    let asked = Asked::read(app, &definitions, &call)?;
    let mut snapshot = app.store.snapshot().await?;
    let key = call.request.key();
    let focus = present(&key, snapshot.read(&key).await?)?;
    let owners = owners(&call, &key, &focus.body.unwrap_or_default())?;
    let mut page = SearchPage::default();
    let mut place = Place::read(&call);
    if call.page.is_none() {
        // It is the first of all.
        let focus = snapshot.read_all(std::slice::from_ref(&key)).await?;
        let query = asked.query(&definitions, place.part(&owners).1);
        let referenced = references(&mut snapshot, &query, &call, &focus).await?;
        asked.take(focus, referenced, &mut page);
    }
    for _ in 0..ROUNDS_MAX {
        let room = asked.count.saturating_sub(page.matches.len());
        let (before, part) = place.part(&owners);
        let Some(last) = part.last() else {
            break;
        };
        if room == 0 || page.includes.len() >= REFERENCED_MAX {
            break;
        }
        let mut query = asked.query(&definitions, part);
        query.count = room;
        let found = snapshot.search(&query, place.at()).await?;
        let mut members = found.matches;
        members.retain(|stored| stored.key != key);
        forget_told(
            &mut snapshot,
            &definitions,
            &asked,
            &call,
            before,
            &mut members,
        )
        .await?;
        let referenced = references(&mut snapshot, &query, &call, &members).await?;
        asked.take(members, referenced, &mut page);
        place = match found.next {
            Some(keyset) => Place { keyset, ..place },
            None => Place {
                after: last.id.clone(),
                keyset: Vec::new(),
            },
        };
    }
    snapshot.close().await?;
    page.next = (!place.part(&owners).1.is_empty()).then(|| place.to_bytes());
    let base = &call.request.base;
    let token = call.page.as_ref().map(|page| page.token.as_str());
    let next = page.next.clone();
    let links = paging::links(
        app,
        base,
        &call.path(),
        &call.in_url(),
        token,
        paging::Pages::forward(next),
    );
    let query = asked.query(&definitions, &[]);
    Ok(Answer::Bundle(searchset::write(
        base, &links, &query, &page,
    )))
}

/// Where a page goes on: in the compartments of which owners, and after which resource of them.
struct Place {
    /// The id of the last owner that is done; empty: none. Not a number, as a group may change between pages.
    after: String,
    /// Empty: from the first.
    keyset: Vec<u8>,
}

impl Place {
    fn read(call: &Call) -> Place {
        let bytes = call.page.as_ref().map_or(&[][..], |page| &page.keyset);
        let (length, rest) = bytes.split_first().unwrap_or((&0, &[]));
        let (after, keyset) = rest.split_at(rest.len().min(usize::from(*length)));
        Place {
            after: String::from_utf8_lossy(after).into_owned(),
            keyset: keyset.to_vec(),
        }
    }

    /// An id has 64 characters at most.
    fn to_bytes(&self) -> Vec<u8> {
        let after = self.after.as_bytes();
        [&[after.len() as u8], after, &self.keyset].concat()
    }

    /// The owners that are done, and those whose compartments come now: none at the end.
    fn part<'o>(&self, owners: &'o [ResourceKey]) -> (&'o [ResourceKey], &'o [ResourceKey]) {
        let (before, rest) =
            owners.split_at(owners.partition_point(|owner| owner.id <= self.after));
        (before, &rest[..rest.len().min(OWNERS_AT_ONCE)])
    }

    fn at(&self) -> Page {
        match self.keyset.is_empty() {
            true => Page::First,
            false => Page::After(self.keyset.clone()),
        }
    }
}

/// The parameters, understood.
struct Asked {
    start: Option<DateRange>,
    end: Option<DateRange>,
    since_ms: Option<i64>,
    types: Option<BTreeSet<String>>,
    count: usize,
}

impl Asked {
    fn read(app: &App, definitions: &Definitions, call: &Call) -> Result<Asked, Failure> {
        let date = |name: &str| {
            let read = |text| {
                PartialDate::parse(text).ok_or_else(|| refuse(&format!("{name} must be a date")))
            };
            call.text(name).map(read).transpose()
        };
        let types = call.values("_type").into_iter().filter_map(Value::as_str);
        let types: BTreeSet<String> = types
            .flat_map(|text| text.split(','))
            .map(str::to_string)
            .collect();
        if types
            .iter()
            .any(|name| definitions.type_number(name).is_none())
        {
            return Err(refuse("_type must name resource types of FHIR R5"));
        }
        let count = match call
            .value("_count")
            .map(|count| count.to_string().parse::<usize>())
        {
            None => COUNT_DEFAULT,
            Some(Ok(count)) if count > 0 => count,
            Some(_) => return Err(refuse("_count must be 1 or more")),
        };
        Ok(Asked {
            start: date("start")?.map(|date| date.range),
            end: date("end")?.map(|date| date.range),
            since_ms: date("_since")?.map(|date| date.range.lo / 1000),
            types: (!types.is_empty()).then_some(types),
            count: count.min(app.config.count_max),
        })
    }

    /// Puts members of the compartment on the page, and what they refer to, so far as they are wanted.
    fn take(
        &self,
        members: Vec<StoredResource>,
        referenced: Vec<StoredResource>,
        page: &mut SearchPage,
    ) {
        for stored in referenced.into_iter().filter(|stored| self.wants(stored)) {
            if !page.includes.iter().any(|there| there.key == stored.key) {
                page.includes.push(stored);
            }
        }
        let wanted = members.into_iter().filter(|stored| self.wants(stored));
        page.matches.extend(wanted);
    }

    fn wants(&self, stored: &StoredResource) -> bool {
        let of_type = |types: &BTreeSet<String>| types.contains(&stored.key.resource_type);
        self.types.as_ref().is_none_or(of_type)
            && self
                .since_ms
                .is_none_or(|since| stored.last_updated_ms >= since)
    }

    /// What is in the compartments of the owners, by its dates of care. Neither type nor time of change is asked for: what is not
    /// chosen may refer to what is.
    fn query(&self, definitions: &Definitions, owners: &[ResourceKey]) -> Query {
        let owner_type = owners.first().map_or("", |owner| &owner.resource_type);
        let is_member = |name: &&String| {
            let compartment = definitions.compartment(owner_type);
            compartment.is_some_and(|compartment| !compartment.parameters(name).is_empty())
        };
        let types: Vec<String> = definitions
            .resource_types()
            .iter()
            .filter(is_member)
            .cloned()
            .collect();
        let mut filter = vec![compartment::clause(definitions, owners, &types)];
        // Some of it is after the beginning of the first day, and before the end of the last.
        let bounds = [
            (Prefix::Gt, self.start.map(|day| day.lo)),
            (Prefix::Lt, self.end.map(|day| day.hi)),
        ];
        for (prefix, at) in bounds {
            if let Some(at) = at {
                let range = DateRange { lo: at, hi: at };
                filter.push(of_care(definitions, &types, DateMatch { prefix, range }));
            }
        }
        Query {
            filter,
            // A page after this one begins where it ends, whatever is changed meanwhile.
            sort: vec![SortKey {
                by: SortBy::Id,
                descending: false,
            }],
            total: Total::None,
            ..Query::all(types, self.count)
        }
    }
}

/// Holds where the date of care does, and where there is none.
fn of_care(definitions: &Definitions, types: &[String], date: DateMatch) -> Clause {
    let always = Clause::LastUpdated(vec![DateMatch {
        prefix: Prefix::Ge,
        range: DateRange { lo: 0, hi: 0 },
    }]);
    let of_type = |name: &String| {
        let clause = match care_date(definitions, name) {
            None => always.clone(),
            Some(parameter) => Clause::Any(vec![
                Clause::Missing {
                    parameter: parameter.clone(),
                    missing: true,
                },
                Clause::Param {
                    parameter: parameter.clone(),
                    modifier: Modifier::None,
                    values: vec![ValueMatch::Date(date)],
                },
            ]),
        };
        (name.clone(), clause)
    };
    Clause::ByType(ChainedClause {
        by_type: types.iter().map(of_type).collect(),
    })
}

fn care_date<'a>(
    definitions: &'a Definitions,
    resource_type: &str,
) -> Option<&'a Arc<SearchParameter>> {
    let parameter = |code: &&str| definitions.search_parameter(resource_type, code);
    let mut all = CARE_DATES.iter().filter_map(parameter);
    all.find(|parameter| parameter.kind == ParameterType::Date)
}

/// Whose compartments it is about.
fn owners(call: &Call, key: &ResourceKey, focus: &str) -> Result<Vec<ResourceKey>, Failure> {
    if key.resource_type != "Group" {
        return Ok(vec![key.clone()]);
    }
    let group = json::parse(focus.as_bytes())?;
    let members = group
        .get("member")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let present = members.filter(|member| member.get("inactive") != Some(&Value::Bool(true)));
    let references = present.filter_map(|member| member.pointer("/entity/reference")?.as_str());
    let patients: BTreeSet<ResourceKey> = references
        .filter_map(
            |text| match Reference::parse(text, Some(&call.request.base)) {
                Reference::Local { key, .. } if key.resource_type == "Patient" => Some(key),
                _ => None,
            },
        )
        .collect();
    match patients.len() <= MEMBERS_MAX {
        true => Ok(patients.into_iter().collect()),
        false => Err(Failure::new(
            IssueKind::TooCostly,
            format!("the group has more than {MEMBERS_MAX} patients"),
        )),
    }
}

/// Takes out what is in the compartment of an owner `before`: it came with that one.
async fn forget_told(
    snapshot: &mut Snapshot,
    definitions: &Definitions,
    asked: &Asked,
    call: &Call,
    before: &[ResourceKey],
    members: &mut Vec<StoredResource>,
) -> Result<(), Failure> {
    if before.is_empty() {
        return Ok(());
    }
    let mut owners = BTreeSet::new();
    let mut suspects = BTreeSet::new();
    for stored in members.iter() {
        let mut keys = BTreeSet::new();
        referenced(&stored.body, &call.request.base, &mut keys);
        keys.retain(|key| before.binary_search(key).is_ok());
        if !keys.is_empty() {
            owners.append(&mut keys);
            suspects.insert(stored.key.clone());
        }
    }
    if suspects.is_empty() {
        return Ok(());
    }
    let owners: Vec<ResourceKey> = owners.into_iter().collect();
    let query = asked.query(definitions, &owners);
    let told = among(snapshot, &query, &suspects).await?;
    members.retain(|stored| !told.contains(&stored.key));
    Ok(())
}

/// Those of `keys` that the query finds.
async fn among(
    snapshot: &mut Snapshot,
    query: &Query,
    keys: &BTreeSet<ResourceKey>,
) -> Result<BTreeSet<ResourceKey>, Failure> {
    let mut by_type: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for key in keys
        .iter()
        .filter(|key| query.types.contains(&key.resource_type))
    {
        let ids = by_type.entry(&key.resource_type).or_default();
        ids.push(key.id.clone());
    }
    if by_type.is_empty() {
        return Ok(BTreeSet::new());
    }
    let mut query = Query {
        types: by_type.keys().map(|name| (*name).to_string()).collect(),
        count: keys.len(),
        ..query.clone()
    };
    let ids = by_type.into_iter();
    let ids = ids.map(|(name, ids)| (name.to_string(), Clause::Id(ids)));
    query.filter.push(Clause::ByType(ChainedClause {
        by_type: ids.collect(),
    }));
    let found = snapshot.search(&query, Page::First).await?;
    Ok(found.matches.into_iter().map(|stored| stored.key).collect())
}

/// What `members` refer to that does not come by itself.
async fn references(
    snapshot: &mut Snapshot,
    query: &Query,
    call: &Call,
    members: &[StoredResource],
) -> Result<Vec<StoredResource>, Failure> {
    let mut keys = BTreeSet::new();
    for stored in members {
        let mut found = BTreeSet::new();
        referenced(&stored.body, &call.request.base, &mut found);
        // The other members of a group are other patients.
        let is_group = stored.key.resource_type == "Group";
        found.retain(|key| !is_group || key.resource_type != "Patient");
        keys.append(&mut found);
    }
    for stored in members {
        keys.remove(&stored.key);
    }
    keys.remove(&call.request.key());
    if keys.len() > REFERENCED_MAX * 2 {
        return Err(too_many(REFERENCED_MAX * 2));
    }
    let themselves = among(snapshot, query, &keys).await?;
    let others: Vec<ResourceKey> = keys
        .into_iter()
        .filter(|key| !themselves.contains(key))
        .collect();
    match others.is_empty() {
        true => Ok(Vec::new()),
        false => Ok(snapshot.read_all(&others).await?),
    }
}

fn too_many(limit: usize) -> Failure {
    let reason = format!(
        "the resources of this page refer to more than {limit} others; ask for a smaller _count"
    );
    Failure::new(IssueKind::TooCostly, reason)
}

fn refuse(reason: &str) -> Failure {
    Failure::new(IssueKind::Syntax, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_care() {
        let definitions = Definitions::load(&[]).unwrap();
        for (resource_type, expect) in [
            ("Observation", "date"),
            ("Encounter", "date"),
            ("Condition", "onset-date"),
            ("MedicationRequest", "authoredon"),
            ("ServiceRequest", "occurrence"),
            ("Specimen", "collected"),
            ("ImagingStudy", "started"),
            ("QuestionnaireResponse", "authored"),
            ("Patient", ""),
            ("Coverage", ""),
        ] {
            let found = care_date(&definitions, resource_type);
            let code = found.map_or("", |parameter| parameter.code.as_str());
            assert_eq!(code, expect, "{resource_type}");
        }
    }
}
