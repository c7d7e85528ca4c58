//! What FHIR adds (<https://hl7.org/fhir/R5/fhirpath.html#functions>). `elementDefinition()` and `slice()` are refused: they need a profile's
//! validation around them.

use super::{Call, Function, function, html, one, verdict};
use crate::error::{Fault, Result};
use crate::evaluate::{Evaluator, single};
use crate::item::{Collection, Element, Item, System};
use crate::navigation;
use fhir_model::Reference;
use serde_json::Value as Json;

pub(super) const FUNCTIONS: &[Function] = &[
    function("extension", 1, 1, |e, call| {
        let url = e.text_argument(&call, 0)?;
        let mut out = Vec::new();
        for item in &call.input {
            navigation::child(item, "extension", e.context.model, &mut out);
        }
        out.retain(|item| url.is_some() && member(item, "url") == url.as_deref());
        Ok(out)
    }),
    function("hasValue", 0, 0, |_, call| {
        verdict(matches!(&call.input[..], [item] if has_value(item)))
    }),
    function("getValue", 0, 0, |_, call| {
        let value = match &call.input[..] {
            [item] if has_value(item) => item.system(),
            _ => None,
        };
        one(value.map(Item::System))
    }),
    function("resolve", 0, 0, |e, call| {
        let mut out = Vec::new();
        for item in &call.input {
            out.extend(resolve(e, item)?.map(Item::Element));
        }
        Ok(out)
    }),
    function("conformsTo", 1, 1, conforms_to),
    function("htmlChecks", 0, 0, |e, call| html_checks(e, call, false)),
    function("htmlChecks1", 0, 0, |e, call| html_checks(e, call, false)),
    function("htmlChecks2", 0, 0, |e, call| html_checks(e, call, true)),
    function("checkModifiers", 0, 16, check_modifiers),
    function("elementDefinition", 0, 0, |_, _| {
        Err(needs_profile("elementDefinition"))
    }),
    function("slice", 2, 2, |_, _| Err(needs_profile("slice"))),
];

fn needs_profile(name: &str) -> Fault {
    Fault::unsupported(format!(
        "{name}() has a meaning in validation against a profile only"
    ))
}

/// A text member of an element's object.
fn member<'a>(item: &Item<'a>, name: &str) -> Option<&'a str> {
    match item {
        Item::Element(element) => element.value?.get(name)?.as_str(),
        _ => None,
    }
}

fn has_value(item: &Item<'_>) -> bool {
    match item {
        Item::Element(element) => element.is_primitive() && element.value.is_some(),
        Item::System(_) => true,
        _ => false,
    }
}

/// The resource that a Reference, uri or string leads to: contained, in the Bundle around it, or the host's.
fn resolve<'a>(e: &mut Evaluator<'a>, item: &Item<'a>) -> Result<Option<Element<'a>>> {
    let reference = match item {
        Item::Element(element) if element.is_primitive() => element.text(),
        Item::Element(_) => member(item, "reference"),
        _ => None,
    };
    let computed;
    let reference = match (reference, item) {
        (Some(reference), _) => reference,
        (None, Item::System(System::String(text))) => {
            computed = text.clone();
            &computed
        }
        _ => return Ok(None),
    };
    let near = match item {
        Item::Element(element) => Some(element.resource),
        _ => None,
    };
    let root = e.context.root.map(|root| root.resource);
    if let Some(id) = reference.strip_prefix('#') {
        let candidates = [
            near,
            container(root, near),
            e.context.resource.map(|resource| resource.resource),
            root,
        ];
        for resource in candidates.into_iter().flatten() {
            if id.is_empty()
                && Some(resource) != near.filter(|near| container(root, Some(near)).is_some())
            {
                return Ok(Element::resource(resource));
            }
            e.budget.spend(1)?;
            if let Some(found) =
                contained(resource).find(|c| c.get("id").and_then(Json::as_str) == Some(id))
            {
                return Ok(Element::resource(found));
            }
        }
        return Ok(None);
    }
    for bundle in root.into_iter().chain(e.context.bundle) {
        e.budget.spend(1 + entries(bundle).count() / 8)?;
        if let Some(found) = in_bundle(bundle, reference) {
            return Ok(Element::resource(found));
        }
    }
    e.resolves += 1;
    if e.resolves > e.context.limits.resolves {
        return Err(Fault::limit("too many references to resolve"));
    }
    let found = e.context.host.resolve(reference);
    Ok(found.and_then(|resource| Element::resource(e.keep(resource))))
}

fn contained(resource: &Json) -> impl Iterator<Item = &Json> {
    let contained = resource.get("contained").and_then(Json::as_array);
    contained.into_iter().flatten()
}

fn entries(bundle: &Json) -> impl Iterator<Item = &Json> {
    bundle
        .get("entry")
        .and_then(Json::as_array)
        .into_iter()
        .flatten()
}

/// The resource that contains `near`: the root, or one in the Bundle that the root is.
fn container<'a>(root: Option<&'a Json>, near: Option<&'a Json>) -> Option<&'a Json> {
    let (root, near) = (root?, near?);
    let contains = |resource: &&Json| contained(resource).any(|c| std::ptr::eq(c, near));
    let inside = entries(root).filter_map(|entry| entry.get("resource"));
    std::iter::once(root).chain(inside).find(contains)
}

/// The entry whose `fullUrl` is the reference, or ends in it.
fn in_bundle<'a>(root: &'a Json, reference: &str) -> Option<&'a Json> {
    let relative = matches!(Reference::parse(reference, None), Reference::Local { .. });
    let plain = reference.split("/_history/").next().unwrap_or(reference);
    let found = entries(root).find(|entry| {
        let Some(url) = entry.get("fullUrl").and_then(Json::as_str) else {
            return false;
        };
        let ends = || {
            url.strip_suffix(plain)
                .is_some_and(|base| base.ends_with('/'))
        };
        url == plain || (relative && ends())
    });
    found?.get("resource")
}

/// A profile of the specification's own types is decided here.
fn conforms_to<'a>(e: &mut Evaluator<'a>, call: Call<'_, 'a>) -> Result<Collection<'a>> {
    let profile = e.text_argument(&call, 0)?;
    let (Some(Item::Element(element)), Some(profile)) = (single(call.input)?, profile) else {
        return Ok(Vec::new());
    };
    if let Some(name) = profile.strip_prefix("http://hl7.org/fhir/StructureDefinition/")
        && e.context.model.is_type(name)
    {
        return verdict(e.context.model.is_a(element.type_name, name));
    }
    let Some(value) = element.value else {
        return Ok(Vec::new());
    };
    let answer = e
        .context
        .host
        .conforms_to(value, element.type_name, &profile);
    verdict(answer.map_err(Fault::unsupported)?)
}

fn html_checks<'a>(
    e: &mut Evaluator<'a>,
    call: Call<'_, 'a>,
    with_content: bool,
) -> Result<Collection<'a>> {
    let item = single(call.input)?;
    let text = match &item {
        Some(item) => match item.system() {
            Some(System::String(text)) => text,
            _ => return Ok(Vec::new()),
        },
        None => return Ok(Vec::new()),
    };
    e.budget.spend(text.len() / 16)?;
    let narrative = matches!(&item, Some(Item::Element(e)) if e.type_name == "xhtml");
    verdict(match (with_content, narrative) {
        (true, _) => html::has_content(&text),
        (false, true) => html::is_narrative(&text),
        (false, false) => html::is_fragment(&text),
    })
}

/// Passes the input on if its modifier extensions are among those named.
fn check_modifiers<'a>(e: &mut Evaluator<'a>, call: Call<'_, 'a>) -> Result<Collection<'a>> {
    let mut understood = Vec::new();
    for index in 0..call.arguments.len() {
        understood.extend(e.text_argument(&call, index)?);
    }
    let mut modifiers = Vec::new();
    for item in &call.input {
        navigation::child(item, "modifierExtension", e.context.model, &mut modifiers);
    }
    let strange = |item: &Item| {
        !understood
            .iter()
            .any(|url| Some(&**url) == member(item, "url"))
    };
    match modifiers.iter().any(strange) {
        true => Err(Fault::invalid(
            "a modifier extension that is not understood",
        )),
        false => Ok(call.input),
    }
}
