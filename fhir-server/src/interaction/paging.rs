//! Pages of a Bundle: the `_page` of a link, and the links themselves (<https://hl7.org/fhir/R5/http.html#paging>).

use crate::app::{App, now_seconds};
use crate::bundle::searchset::Links;
use crate::failure::Failure;
use crate::page_token::Place;
use crate::request::Request;
use crate::url::{self, Parameters};
use fhir_model::IssueKind;

/// The token of a link. It holds the whole query, so nothing may stand beside it.
///
/// # Errors
/// SearchParameter (400).
pub fn token(request: &Request) -> Result<Option<&str>, Failure> {
    let at = request
        .parameters
        .iter()
        .position(|(name, _)| name == "_page");
    match (at, request.parameters.as_slice()) {
        (None, _) => Ok(None),
        (Some(_), [(_, token)]) => Ok(Some(token)),
        (Some(_), _) => Err(Failure::new(
            IssueKind::SearchParameter,
            "_page holds the whole search; no parameter may stand beside it",
        )),
    }
}

/// Where other pages begin.
#[derive(Default)]
pub struct Pages {
    pub next: Option<Vec<u8>>,
    pub previous: Option<Vec<u8>>,
    pub last: Option<Vec<u8>>,
    /// Whether the first page is told where there are others.
    pub first: bool,
}

impl Pages {
    /// Where one comes after the other, and none before.
    pub fn forward(next: Option<Vec<u8>>) -> Pages {
        Pages {
            next,
            ..Pages::default()
        }
    }
}

/// The links of the page at `path`, which is below the base, that `parameters` or the `token` of one before asked for.
pub fn links(
    app: &App,
    base: &str,
    path: &str,
    parameters: &Parameters,
    token: Option<&str>,
    pages: Pages,
) -> Links {
    let here = match path {
        "" => base.to_string(),
        path => format!("{base}/{path}"),
    };
    let of_page = |token: &str| format!("{here}?_page={token}");
    let of_parameters = |parameters: &[(String, String)]| match parameters.is_empty() {
        true => here.clone(),
        false => format!("{here}?{}", url::query(parameters)),
    };
    let seal = |keyset: Vec<u8>| {
        let place = Place {
            parameters: parameters.clone(),
            keyset,
        };
        of_page(&app.tokens.seal(path, &place, now_seconds()))
    };
    let several = pages.next.is_some() || pages.previous.is_some() || pages.last.is_some();
    let first = (pages.first && several).then(|| {
        let mut parameters = parameters.clone();
        parameters.retain(|(name, _)| name != "_getpagesoffset");
        of_parameters(&parameters)
    });
    let others = [
        ("next", pages.next.map(seal)),
        ("prev", pages.previous.map(seal)),
        ("first", first),
        ("last", pages.last.map(seal)),
    ];
    Links {
        self_url: match token {
            Some(token) => of_page(token),
            None => of_parameters(parameters),
        },
        others: others
            .into_iter()
            .filter_map(|(relation, url)| Some((relation, url?)))
            .collect(),
    }
}
