//! Pages of a Bundle: the `_page` of a `next` link, and the links themselves (<https://hl7.org/fhir/R5/http.html#paging>).

use crate::app::{App, now_seconds};
use crate::bundle::searchset::Links;
use crate::failure::Failure;
use crate::page_token::Place;
use crate::request::Request;
use crate::url::{self, Parameters};
use fhir_model::IssueKind;

/// The token of a `next` link. It holds the whole query, so nothing may stand beside it.
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

/// The links of the page at `path`, which is below the base, that `parameters` or the `token` of one before asked for. `next`: where the
/// page after it begins.
pub fn links(
    app: &App,
    base: &str,
    path: &str,
    parameters: &Parameters,
    token: Option<&str>,
    next: Option<Vec<u8>>,
) -> Links {
    let here = match path {
        "" => base.to_string(),
        path => format!("{base}/{path}"),
    };
    let of_page = |token: &str| format!("{here}?_page={token}");
    let next_url = next.map(|keyset| {
        let place = Place {
            parameters: parameters.clone(),
            keyset,
        };
        of_page(&app.tokens.seal(path, &place, now_seconds()))
    });
    Links {
        self_url: match token {
            Some(token) => of_page(token),
            None if parameters.is_empty() => here,
            None => format!("{here}?{}", url::query(parameters)),
        },
        next_url,
    }
}
