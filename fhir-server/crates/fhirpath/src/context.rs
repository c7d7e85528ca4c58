//! What an evaluation is given: the resource, the types, variables, the time, the host's functions, and the limits.

use crate::item::{Collection, Element, Item, System};
use crate::temporal::{Temporal, TemporalKind};
use crate::types::TypeModel;
use serde_json::Value as Json;
use std::cell::OnceCell;

/// What the engine cannot know by itself. Everything is refused where nothing is answered; an answer `Err` ends the evaluation with that text.
/// Nothing here may wait: a host that needs a database fetches beforehand.
pub trait Host {
    /// The resource that a reference leads to, beyond the resource itself and its Bundle. `None`: not found.
    fn resolve(&self, reference: &str) -> Option<Json> {
        let _ = reference;
        None
    }

    /// `conformsTo(profile)`.
    ///
    /// # Errors
    /// The profile is not known.
    fn conforms_to(&self, value: &Json, type_name: &str, profile: &str) -> Result<bool, String> {
        let _ = (value, type_name);
        Err(format!("the profile {profile} is not known here"))
    }

    /// A function of `%terminologies` (`expand`, `lookup`, `validateVS`, `validateCS`, `subsumes`, `translate`), or `memberOf` (value set, coded
    /// value), which answers as `validateVS` does: with Parameters. Arguments are strings, codes, Codings or CodeableConcepts, params last.
    ///
    /// # Errors
    /// The value set, code system or map is not known, or the function is not there.
    fn terminology(&self, function: &str, arguments: &[&Json]) -> Result<Json, String> {
        let _ = arguments;
        Err(format!("{function}() needs a terminology service"))
    }

    /// `trace(name)`: the items that pass.
    fn trace(&self, name: &str, items: &[Item<'_>]) {
        let _ = (name, items);
    }
}

/// The host that knows nothing.
pub struct NoHost;

impl Host for NoHost {}

/// Passing one of them ends the evaluation with [`crate::Reason::Limit`].
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Operations, items passed and comparisons together.
    pub steps: u64,
    /// Items of any collection.
    pub items: usize,
    /// Bytes of any string.
    pub string_bytes: usize,
    /// Bytes of a regular expression; its program may have 32 times as many, up to 1 MiB.
    pub regex_bytes: usize,
    /// Resources that `resolve()` may ask the host for.
    pub resolves: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            steps: 2_000_000,
            items: 100_000,
            string_bytes: 1024 * 1024,
            regex_bytes: 2_048,
            resolves: 1_000,
        }
    }
}

/// One evaluation's surroundings. The items it gives borrow from it.
pub struct Context<'a> {
    pub(crate) model: &'a dyn TypeModel,
    pub(crate) host: &'a dyn Host,
    pub(crate) resource: Option<Element<'a>>,
    pub(crate) root: Option<Element<'a>>,
    pub(crate) bundle: Option<&'a Json>,
    pub(crate) focus: Collection<'a>,
    pub(crate) variables: Vec<(String, Collection<'a>)>,
    pub(crate) now: Option<Temporal>,
    pub(crate) limits: Limits,
    pub(crate) made: Made,
}

impl<'a> Context<'a> {
    /// Evaluates on `resource`: it is `%context`, `%resource` and `%rootResource`.
    pub fn new(resource: &'a Json, model: &'a dyn TypeModel) -> Context<'a> {
        let element = Element::resource(resource);
        Context {
            focus: element.map(Item::Element).into_iter().collect(),
            resource: element,
            root: element,
            ..Context::empty(model)
        }
    }

    /// Evaluates on nothing.
    pub fn empty(model: &'a dyn TypeModel) -> Context<'a> {
        Context {
            model,
            host: &NoHost,
            resource: None,
            root: None,
            bundle: None,
            focus: Vec::new(),
            variables: Vec::new(),
            now: None,
            limits: Limits::default(),
            made: Made::default(),
        }
    }

    /// Evaluates on these items of the resource (`%context`) instead of the resource.
    #[must_use]
    pub fn on(mut self, focus: Vec<Item<'a>>) -> Context<'a> {
        if let Some(Item::Element(element)) = focus.first() {
            self.resource = Element::resource(element.resource).or(self.resource);
        }
        self.focus = focus;
        self
    }

    /// The Bundle around the resource: `resolve()` finds its other entries.
    #[must_use]
    pub fn within(mut self, bundle: &'a Json) -> Context<'a> {
        self.bundle = Some(bundle);
        self
    }

    /// `%name`.
    #[must_use]
    pub fn variable(mut self, name: impl Into<String>, value: Vec<Item<'a>>) -> Context<'a> {
        self.variables.push((name.into(), value));
        self
    }

    /// `%name`, a string.
    #[must_use]
    pub fn text_variable(self, name: impl Into<String>, value: &'a str) -> Context<'a> {
        self.variable(name, vec![Item::System(System::String(value.into()))])
    }

    #[must_use]
    pub fn host(mut self, host: &'a dyn Host) -> Context<'a> {
        self.host = host;
        self
    }

    /// What `now()`, `today()` and `timeOfDay()` say: an instant, `2026-01-31T08:00:00.000Z`.
    #[must_use]
    pub fn now(mut self, instant: &str) -> Context<'a> {
        self.now = Temporal::parse(TemporalKind::DateTime, instant);
        self
    }

    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Context<'a> {
        self.limits = limits;
        self
    }
}

/// Values made on the way that items borrow: they live as long as the context.
#[derive(Default)]
pub(crate) struct Made {
    first: OnceCell<Box<Link>>,
}

struct Link {
    value: Json,
    next: OnceCell<Box<Link>>,
}

impl Made {
    pub fn keep(&self, value: Json) -> &Json {
        let mut place = &self.first;
        while let Some(link) = place.get() {
            place = &link.next;
        }
        let link = Box::new(Link {
            value,
            next: OnceCell::new(),
        });
        &place.get_or_init(|| link).value
    }
}

impl Drop for Made {
    /// One by one, so that a long list does not recurse.
    fn drop(&mut self) {
        let mut next = self.first.take();
        while let Some(mut link) = next {
            next = link.next.take();
        }
    }
}
