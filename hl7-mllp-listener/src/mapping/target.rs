//! Writes a value to its place in a resource.

use super::program::{Index, Target};
use crate::merge::is_same_choice;
use serde_json::{Map as Object, Value as Json};

/// Puts a value at the end of a path, making what is missing on the way. `type_name` is the type written, for `value[x]`.
pub(super) fn put(
    body: &mut Object<String, Json>,
    target: &[Target],
    labels: &mut [Option<usize>],
    type_name: &str,
    json: Json,
) {
    let Some((step, rest)) = target.split_first() else {
        return;
    };
    if step.index == Index::Choice {
        body.insert(choice_name(&step.name, type_name), json);
        return;
    }
    if step.index == Index::One {
        if rest.is_empty() {
            body.insert(step.name.clone(), json);
            return;
        }
        if let Some(Json::Object(inner)) = at(body, &step.name, || Json::Object(Object::new())) {
            put(inner, rest, labels, type_name, json);
        }
        return;
    }
    let Some(Json::Array(items)) = at(body, &step.name, || Json::Array(Vec::new())) else {
        return;
    };
    let known = match step.index {
        Index::Label(label) => labels[label].filter(|index| *index < items.len()),
        _ => None,
    };
    let index = known.unwrap_or_else(|| {
        items.push(Json::Object(Object::new()));
        items.len() - 1
    });
    if let Index::Label(label) = step.index {
        labels[label] = Some(index);
    }
    match rest {
        [] => items[index] = json,
        rest => {
            if let Json::Object(inner) = &mut items[index] {
                put(inner, rest, labels, type_name, json);
            }
        }
    }
}

/// What stands under a name, made if need be.
fn at<'b>(
    body: &'b mut Object<String, Json>,
    name: &str,
    new: impl FnOnce() -> Json,
) -> Option<&'b mut Json> {
    // Few names are sooner compared than hashed.
    let place = body.keys().position(|own| own == name);
    let place = place.unwrap_or_else(|| {
        body.insert(name.to_owned(), new());
        body.len() - 1
    });
    body.values_mut().nth(place)
}

/// Whether something stands at a path: any item of a list, any type of a choice.
pub(super) fn exists(body: &Object<String, Json>, target: &[Target]) -> bool {
    let Some((step, rest)) = target.split_first() else {
        return true;
    };
    if step.index == Index::Choice {
        return body.keys().any(|key| {
            key.strip_prefix(step.name.as_str())
                .is_some_and(|type_name| type_name.starts_with(|c: char| c.is_ascii_uppercase()))
        });
    }
    let known = body.iter().find(|(own, _)| **own == step.name);
    match known.map(|(_, value)| value) {
        // Of a choice any type counts: a resource has one.
        None => rest.is_empty() && body.keys().any(|own| is_same_choice(own, &step.name)),
        Some(Json::Object(inner)) => exists(inner, rest),
        Some(_) => true,
    }
}

fn choice_name(name: &str, type_name: &str) -> String {
    let mut out = name.to_owned();
    let mut letters = type_name.chars();
    out.extend(letters.next().map(|first| first.to_ascii_uppercase()));
    out.push_str(letters.as_str());
    out
}
