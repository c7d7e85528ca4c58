//! Searches of a type, of several types (`[base]?_type=…`) and of a compartment (`[base]/Patient/1/Observation`), by GET and by `POST …/_search`
//! (<https://hl7.org/fhir/R5/http.html#search>), page by page.

use crate::app::{App, now_micros, now_seconds};
use crate::bundle::searchset;
use crate::failure::Failure;
use crate::interaction::paging;
use crate::operation::graph;
use crate::reply::Reply;
use crate::request::Request;
use crate::subset::Subset;
use crate::terminology::{self, Lookup};
use crate::url::Parameters;
use fhir_definitions::Definitions;
use fhir_model::IssueKind;
use fhir_search::{Handling, Query, compartment, parse};
use fhir_storage::{Page, SearchPage, Snapshot};

pub async fn search(app: &App, request: Request) -> Result<Reply, Failure> {
    let (mut reply, mut settled) = attempt(app, &request).await;
    // A search parameter that another server of the database has changed meanwhile: the answer is that of a moment before, or after, never a mixture.
    for _ in 0..REDEFINED_MAX {
        if settled || !app.store.refresh().await.unwrap_or(false) {
            break;
        }
        (reply, settled) = attempt(app, &request).await;
    }
    reply
}

/// How often a search is made again because search parameters have changed meanwhile.
const REDEFINED_MAX: usize = 3;

/// The answer by what is known of the search parameters; and whether others would have given the same.
async fn attempt(app: &App, request: &Request) -> (Result<Reply, Failure>, bool) {
    let definitions = app.store.definitions();
    let asked = match Asked::read(app, request).await {
        Ok(asked) => asked,
        Err(failure) => return (Err(failure), false),
    };
    let settled = !definitions.may_name_own(&asked.query.applied);
    let found = found(app, request, &asked).await;
    (
        found.map(|found| asked.reply(app, request, &found)),
        settled,
    )
}

async fn found(app: &App, request: &Request, asked: &Asked) -> Result<SearchPage, Failure> {
    if asked.query.graph.is_some() {
        let mut snapshot = app.store.snapshot().await?;
        let found = asked.with_graph(app, request, &mut snapshot).await?;
        snapshot.close().await?;
        return Ok(found);
    }
    Ok(app.store.search(&asked.query, asked.page.clone()).await?)
}

/// The answers of those of several searches that are looked up together; `None` of the others, and of what is wrong with them.
pub async fn looked_up(app: &App, requests: &[&Request]) -> Vec<Option<Reply>> {
    let mut asked = Vec::with_capacity(requests.len());
    for request in requests {
        asked.push(Asked::read(app, request).await.ok());
    }
    // A page of a walk begins somewhere.
    let of = |asked: &Option<Asked>| asked.as_ref().is_some_and(|own| own.token.is_none());
    let places: Vec<usize> = (0..asked.len()).filter(|at| of(&asked[*at])).collect();
    let queries: Vec<&Query> = places
        .iter()
        .filter_map(|at| asked[*at].as_ref().map(|own| &own.query))
        .collect();
    let mut replies: Vec<Option<Reply>> = requests.iter().map(|_| None).collect();
    if queries.is_empty() {
        return replies;
    }
    // What went wrong does so again, and is told, where each is searched for itself.
    let Ok(pages) = app.store.look_up(&queries).await else {
        return replies;
    };
    for (at, page) in places.into_iter().zip(pages) {
        let page = page.zip(asked[at].as_ref());
        replies[at] = page.map(|(page, own)| own.reply(app, requests[at], &page));
    }
    replies
}

/// One of several searches that follow each other: they read one state on one connection, which saves beginning and ending a
/// transaction for each. A search that fails gives its state up.
pub async fn search_within(
    app: &App,
    state: &mut Option<Snapshot>,
    request: &Request,
) -> Result<Reply, Failure> {
    let asked = Asked::read(app, request).await?;
    let mut snapshot = match state.take() {
        Some(snapshot) => snapshot,
        None => app.store.snapshot().await?,
    };
    let found = asked.with_graph(app, request, &mut snapshot).await?;
    *state = Some(snapshot);
    Ok(asked.reply(app, request, &found))
}

/// A search, understood: a first page, or the one a `next` link leads to.
pub struct Asked {
    pub query: Query,
    pub page: Page,
    /// Below the base: `Patient`, nothing, `Patient/1/Observation`.
    path: String,
    token: Option<String>,
}

impl Asked {
    /// # Errors
    /// Parameters that cannot be understood, or a page that is not served.
    pub async fn read(app: &App, request: &Request) -> Result<Asked, Failure> {
        let path = path(request);
        let Some(token) = paging::token(request)? else {
            return Ok(Asked {
                path,
                query: understand(app, request, &request.parameters, request.handling).await?,
                page: Page::First,
                token: None,
            });
        };
        let place = app.tokens.open(&path, token, now_seconds())?;
        Ok(Asked {
            path,
            query: understand(app, request, &place.parameters, Handling::Strict).await?,
            page: Page::After(place.keyset),
            token: Some(token.to_string()),
        })
    }

    /// The page, with what `_graph` adds to it.
    async fn with_graph(
        &self,
        app: &App,
        request: &Request,
        snapshot: &mut Snapshot,
    ) -> Result<SearchPage, Failure> {
        let mut found = snapshot.search(&self.query, self.page.clone()).await?;
        if let Some(name) = &self.query.graph {
            let definitions = app.store.definitions();
            let led_to =
                graph::led_to(&definitions, &request.base, snapshot, name, &found.matches).await?;
            for stored in led_to {
                let mut there = found.matches.iter().chain(&found.includes);
                if !there.any(|it| it.key == stored.key) {
                    found.includes.push(stored);
                }
            }
        }
        Ok(found)
    }

    /// The searchset with its links.
    pub fn reply(&self, app: &App, request: &Request, found: &SearchPage) -> Reply {
        let base = &request.base;
        // Only what was applied; a search that was understood in part says so here, too.
        let applied = &self.query.applied;
        let token = self.token.as_deref();
        let pages = paging::Pages {
            next: found.next.clone(),
            previous: found.previous.clone(),
            last: found.last.clone(),
            first: true,
        };
        let links = paging::links(app, base, &self.path, applied, token, pages);
        let subset = Subset::read(applied).unwrap_or_default();
        Reply::bundle(searchset::write(base, &links, &self.query, found), subset)
    }
}

async fn understand(
    app: &App,
    request: &Request,
    parameters: &[(String, String)],
    handling: Handling,
) -> Result<Query, Failure> {
    let definitions = app.store.definitions();
    let (types, given, mut others) = types(&definitions, request, parameters)?;
    let names: Vec<&str> = types.iter().map(String::as_str).collect();
    let stored = terminology::of_search(Lookup::new(app, &request.base), &names, &others).await?;
    let context = parse::Context {
        definitions: &definitions,
        terminology: stored.as_ref(),
        base: Some(&request.base),
        handling,
        now_micros: now_micros(),
        count_default: app.config.count_default,
        count_max: app.config.count_max,
    };
    // Where it is switched off it is a parameter like any other that is unknown.
    let explain = app.config.search_explain.then(|| {
        let at = others.iter().position(|(name, value)| {
            name == "_explain" && matches!(value.as_str(), "true" | "false")
        })?;
        Some(others.remove(at))
    });
    let mut query = terminology::parsed(&context, &names, &others)?;
    query.freshness = request.freshness()?;
    query.applied.splice(0..0, given);
    if let Some(Some(explain)) = explain {
        query.explain = explain.1 == "true";
        query.applied.push(explain);
    }
    if !request.id.is_empty() {
        let clause = compartment::clause(&definitions, &[request.key()], &types);
        query.filter.push(clause);
    }
    Ok(query)
}

/// Which types are searched; the `_type` that said so, and the parameters beside it.
fn types(
    definitions: &Definitions,
    request: &Request,
    parameters: &[(String, String)],
) -> Result<(Vec<String>, Parameters, Parameters), Failure> {
    let refuse = |reason: &str| Failure::new(IssueKind::SearchParameter, reason);
    let one = match (request.id.as_str(), request.member.as_str()) {
        ("", _) => &request.resource_type,
        (_, "*") => "",
        (_, member) => member,
    };
    if !one.is_empty() {
        return Ok((vec![one.to_string()], Vec::new(), parameters.to_vec()));
    }
    let (given, others): (Parameters, Parameters) = parameters
        .iter()
        .cloned()
        .partition(|(name, value)| name == "_type" && !value.is_empty());
    let Some((_, value)) = given.first() else {
        let all = match definitions.compartment(&request.resource_type) {
            Some(compartment) if !request.id.is_empty() => {
                let members = definitions.resource_types().iter();
                let has = |name: &&String| !compartment.parameters(name).is_empty();
                members.filter(has).cloned().collect()
            }
            _ => definitions.resource_types().to_vec(),
        };
        return Ok((all, Vec::new(), others));
    };
    if given.len() > 1 {
        return Err(refuse("_type may be given once only"));
    }
    let mut types: Vec<String> = value.split(',').map(str::to_string).collect();
    types.sort_unstable();
    types.dedup();
    match types
        .iter()
        .all(|name| definitions.type_number(name).is_some())
    {
        true => Ok((types, given, others)),
        false => Err(refuse("_type must name resource types of FHIR R5")),
    }
}

fn path(request: &Request) -> String {
    match (request.resource_type.as_str(), request.id.as_str()) {
        (resource_type, "") => resource_type.to_string(),
        _ => format!("{}/{}", request.key(), request.member),
    }
}
