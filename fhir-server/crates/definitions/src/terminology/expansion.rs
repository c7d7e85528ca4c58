//! The codes of a value set (<https://hl7.org/fhir/R5/valueset.html#expansion>).
//!
//! A value set may take a code system as a whole whose concepts are not all here (SNOMED CT, LOINC, UCUM): its codes cannot be listed, yet every
//! code of that system belongs to it. [`Expansion::whole`] says so. Everything else that cannot be known is an error.

use super::code_system::{CodeSystem, Content};
use super::value_set::{Include, ValueSet};
use super::{Terminology, TerminologyError, filter};
use serde_json::Value;
use std::collections::HashSet;
use std::sync::Arc;

/// Most codes of an expansion, and of everything that is looked at on the way to it together ten times as many.
pub const EXPANSION_MAX: usize = 20_000;
const WORK_MAX: usize = 10 * EXPANSION_MAX;
/// Deepest nesting of value sets that are made of others.
pub(super) const DEPTH_MAX: usize = 16;

/// What belongs to a value set.
#[derive(Clone, Debug, Default)]
pub struct Expansion {
    /// In the order of the definition, each (system, code) once.
    pub members: Vec<Member>,
    /// Code systems of which every code belongs to it, though not all of them are here to be listed.
    pub whole: Vec<Arc<str>>,
    /// Code systems and value sets that were used: `url|version`.
    pub used: Vec<Used>,
    listed: HashSet<(Arc<str>, Arc<str>)>,
}

/// A code system or value set that an expansion used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used {
    pub is_code_system: bool,
    /// `url` or `url|version`.
    pub canonical: String,
    /// Only some of its concepts are here.
    pub is_part: bool,
}

/// A code of a value set.
#[derive(Clone, Debug)]
pub struct Member {
    pub system: Arc<str>,
    pub code: Arc<str>,
    /// As the value set shows it, else the code system.
    pub display: Option<Arc<str>>,
    /// As `ValueSet.compose.include.concept.designation`.
    pub designations: Vec<Value>,
    /// Where the code system is here and has it.
    pub concept: Option<(Arc<CodeSystem>, usize)>,
}

impl Member {
    pub fn is_inactive(&self) -> bool {
        let concept = self.concept.as_ref();
        concept.is_some_and(|(system, at)| system.is_inactive(&system.concepts()[*at]))
    }

    pub fn is_abstract(&self) -> bool {
        let concept = self.concept.as_ref();
        concept.is_some_and(|(system, at)| system.is_abstract(&system.concepts()[*at]))
    }
}

impl Expansion {
    /// Whether a code belongs to it.
    pub fn has(&self, system: &str, code: &str) -> bool {
        self.member(system, code).is_some() || self.whole.iter().any(|whole| **whole == *system)
    }

    /// The member with this code.
    pub fn member(&self, system: &str, code: &str) -> Option<&Member> {
        let mut members = self.members.iter();
        members.find(|member| *member.system == *system && member.is_called(code))
    }

    fn push(&mut self, member: Member) {
        let key = (Arc::clone(&member.system), Arc::clone(&member.code));
        if self.listed.insert(key) {
            self.members.push(member);
        }
    }

    fn add(&mut self, other: Expansion) {
        for member in other.members {
            self.push(member);
        }
        self.add_whole(other.whole);
        self.add_used(other.used);
    }

    fn add_whole(&mut self, whole: Vec<Arc<str>>) {
        for system in whole {
            if !self.whole.contains(&system) {
                self.whole.push(system);
            }
        }
    }

    fn add_used(&mut self, used: Vec<Used>) {
        for one in used {
            if !self.used.contains(&one) {
                self.used.push(one);
            }
        }
    }

    fn lists(&self, member: &Member) -> bool {
        let key = (Arc::clone(&member.system), Arc::clone(&member.code));
        self.listed.contains(&key)
    }

    fn holds(&self, member: &Member) -> bool {
        self.lists(member) || self.whole.contains(&member.system)
    }

    /// What belongs to both.
    fn intersect(self, other: Expansion) -> Expansion {
        let mut both = Expansion::default();
        for member in &self.members {
            if other.holds(member) {
                both.push(member.clone());
            }
        }
        for member in &other.members {
            if self.whole.contains(&member.system) {
                both.push(member.clone());
            }
        }
        let whole = self.whole.into_iter();
        both.whole = whole.filter(|one| other.whole.contains(one)).collect();
        both.add_used(self.used);
        both.add_used(other.used);
        both
    }

    /// Takes out what belongs to `other`.
    fn exclude(&mut self, other: Expansion) -> Result<(), TerminologyError> {
        self.whole.retain(|system| !other.whole.contains(system));
        let mut others = other.members.iter();
        if let Some(one) = others.find(|member| self.whole.contains(&member.system)) {
            return Err(TerminologyError::NotPresent(one.system.to_string()));
        }
        self.members.retain(|member| !other.holds(member));
        let keys = self.members.iter();
        self.listed = keys
            .map(|member| (Arc::clone(&member.system), Arc::clone(&member.code)))
            .collect();
        self.add_used(other.used);
        Ok(())
    }
}

impl Member {
    pub(super) fn is_called(&self, code: &str) -> bool {
        match &self.concept {
            _ if *self.code == *code => true,
            Some((system, at)) => system.number(code) == Some(*at),
            None => false,
        }
    }
}

impl Terminology<'_> {
    /// Every code of the value set.
    ///
    /// # Errors
    /// What is not known, not complete, too much, or makes no sense.
    pub fn expand(&self, value_set: &ValueSet) -> Result<Expansion, TerminologyError> {
        let mut expander = Expander {
            terminology: *self,
            within: Vec::new(),
            work: 0,
        };
        expander.value_set(value_set)
    }
}

struct Expander<'a> {
    terminology: Terminology<'a>,
    /// The value sets that are being expanded, the outermost first.
    within: Vec<String>,
    work: usize,
}

impl Expander<'_> {
    fn value_set(&mut self, set: &ValueSet) -> Result<Expansion, TerminologyError> {
        self.spend(1)?;
        let canonical = set.canonical();
        if self.within.contains(&canonical) && !set.url().is_empty() {
            return Err(TerminologyError::Cycle(canonical));
        }
        if self.within.len() > DEPTH_MAX {
            return Err(TerminologyError::TooDeep(canonical));
        }
        self.within.push(canonical);
        let mut all = Expansion::default();
        for include in &set.include {
            all.add(self.selected(include)?);
            if all.members.len() > EXPANSION_MAX {
                return Err(TerminologyError::TooCostly);
            }
        }
        for (system, concept) in &set.expansion {
            self.spend(1)?;
            all.push(Member {
                system: system.as_str().into(),
                code: concept.code.as_str().into(),
                display: concept.display.as_deref().map(Arc::from),
                designations: concept.designations.clone(),
                concept: None,
            });
        }
        for exclude in &set.exclude {
            let out = self.selected(exclude)?;
            all.exclude(out)?;
        }
        if !set.inactive {
            all.members.retain(|member| !member.is_inactive());
        }
        self.within.pop();
        Ok(all)
    }

    /// One include or exclude: the codes that satisfy all it says.
    fn selected(&mut self, include: &Include) -> Result<Expansion, TerminologyError> {
        let mut selected = match include.system.is_empty() {
            true => None,
            false => Some(self.of_system(include)?),
        };
        for url in &include.value_sets {
            let set = self.terminology.value_set(url)?;
            let mut expansion = self.value_set(&set)?;
            expansion.add_used(vec![Used {
                is_code_system: false,
                canonical: set.canonical(),
                is_part: false,
            }]);
            selected = Some(match selected {
                Some(before) => before.intersect(expansion),
                None => expansion,
            });
        }
        selected.ok_or_else(|| {
            let reason =
                "a value set includes or excludes something without a system or a value set";
            TerminologyError::Invalid(reason.to_owned())
        })
    }

    fn of_system(&mut self, include: &Include) -> Result<Expansion, TerminologyError> {
        let canonical = include.canonical();
        let system = self.terminology.code_system(&canonical);
        if !include.concepts.is_empty() {
            return self.listed(include, system.ok());
        }
        // A system that is known by its name only, or not at all, can be taken whole; nothing can be chosen from it.
        let system = match system {
            Ok(system) if system.content != Content::Supplement => system,
            // Another version of it is here: what this one has is not known.
            Err(unknown) if self.is_here(&include.system) => return Err(unknown),
            _ if include.filters.is_empty() => {
                return Ok(Expansion {
                    whole: vec![include.system.as_str().into()],
                    ..Expansion::default()
                });
            }
            Ok(_) => return Err(TerminologyError::NotPresent(canonical)),
            Err(unknown) => return Err(unknown),
        };
        let mut selected = Expansion {
            used: vec![Used::system(&system)],
            ..Expansion::default()
        };
        if system.content != Content::Complete {
            match include.filters.is_empty() {
                true => selected.whole.push(Arc::clone(system.url())),
                false => return Err(TerminologyError::NotPresent(system.url().to_string())),
            }
        }
        self.spend(system.concepts().len())?;
        let filters = include.filters.iter();
        let filters = filters
            .map(|filter| filter::ready(&system, filter))
            .collect::<Result<Vec<_>, _>>()?;
        for (number, concept) in system.concepts().iter().enumerate() {
            if filters.iter().all(|passes| passes(number)) {
                selected.push(Member {
                    system: Arc::clone(system.url()),
                    code: Arc::clone(&concept.code),
                    display: concept.display.clone(),
                    designations: Vec::new(),
                    concept: Some((Arc::clone(&system), number)),
                });
            }
        }
        Ok(selected)
    }

    fn is_here(&self, url: &str) -> bool {
        let system = self.terminology.code_system(url);
        system.is_ok_and(|system| system.content == Content::Complete)
    }

    /// The codes that the value set lists itself: they count, whether the code system is here or not.
    fn listed(
        &mut self,
        include: &Include,
        system: Option<Arc<CodeSystem>>,
    ) -> Result<Expansion, TerminologyError> {
        self.spend(include.concepts.len())?;
        let url: Arc<str> = include.system.as_str().into();
        let mut selected = Expansion {
            used: system.as_deref().map(Used::system).into_iter().collect(),
            ..Expansion::default()
        };
        for listed in &include.concepts {
            let concept = system.as_ref().and_then(|system| {
                let number = system.number(&listed.code)?;
                Some((Arc::clone(system), number))
            });
            let of_system = || {
                let (system, number) = concept.as_ref()?;
                system.concepts()[*number].display.clone()
            };
            selected.push(Member {
                system: Arc::clone(&url),
                code: listed.code.as_str().into(),
                display: listed.display.as_deref().map(Arc::from).or_else(of_system),
                designations: listed.designations.clone(),
                concept,
            });
        }
        Ok(selected)
    }

    fn spend(&mut self, concepts: usize) -> Result<(), TerminologyError> {
        self.work += concepts;
        match self.work > WORK_MAX {
            true => Err(TerminologyError::TooCostly),
            false => Ok(()),
        }
    }
}

impl Used {
    pub(super) fn url(&self) -> &str {
        self.canonical.split('|').next().unwrap_or_default()
    }

    fn system(system: &CodeSystem) -> Used {
        Used {
            is_code_system: true,
            canonical: match system.version() {
                Some(version) => format!("{}|{version}", system.url()),
                None => system.url().to_string(),
            },
            is_part: system.content != Content::Complete,
        }
    }
}
