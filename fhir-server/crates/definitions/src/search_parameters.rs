//! The search parameters of every stored resource type: those of the R5 table and a site's own
//! (<https://hl7.org/fhir/R5/searchparameter-registry.html>).
//!
//! Parameters of `Resource` and `DomainResource` stand under each concrete type. Where the specification defines a pair of type and code twice,
//! the definition for the more special base wins.

use crate::parameter::{Component, ParameterKey, ParameterType, Part, SearchParameter, StringRows};
use crate::structure::Structures;
use crate::tables::{PARAMETERS, Row};
use fhirpath::{CompileError, PathProgram};
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// The first number of a site's own parameters. The table's have theirs by position.
pub(crate) const FIRST_OWN_KEY: i16 = 8192;

/// The parameters of each resource type, by type number; within a type by code.
pub(crate) type ByType = Vec<Vec<Arc<SearchParameter>>>;

/// The R5 table.
pub(crate) fn r5() -> &'static ByType {
    static R5: OnceLock<ByType> = OnceLock::new();
    R5.get_or_init(|| read(PARAMETERS.rows(), Structures::r5()))
}

/// What parameters select that R5 describes and gives no expression.
const SUPPLIED: [(&str, &str); 4] = [
    (
        "http://hl7.org/fhir/SearchParameter/ImagingStudy-reason",
        "ImagingStudy.reason.concept",
    ),
    (
        "http://hl7.org/fhir/SearchParameter/Medication-form",
        "Medication.doseForm",
    ),
    (
        "http://hl7.org/fhir/SearchParameter/MedicationKnowledge-packaging-cost",
        "MedicationKnowledge.packaging.cost.cost.ofType(Money)",
    ),
    (
        "http://hl7.org/fhir/SearchParameter/MedicationKnowledge-packaging-cost-concept",
        "MedicationKnowledge.packaging.cost.cost.ofType(CodeableConcept)",
    ),
];

/// A parameter of names or addresses that has parameters of its parts ([`SearchParameter::parts`]).
struct Whole {
    types: &'static [&'static str],
    code: &'static str,
    /// Code and element of each.
    parts: &'static [(&'static str, &'static str)],
}

/// A person has few strings that are not both.
const WHOLES: [Whole; 2] = [
    Whole {
        types: &["Patient", "Person", "Practitioner", "RelatedPerson"],
        code: "name",
        parts: &[("family", "family"), ("given", "given")],
    },
    Whole {
        types: &[
            "InsurancePlan",
            "Location",
            "Organization",
            "Patient",
            "Person",
            "Practitioner",
            "RelatedPerson",
        ],
        code: "address",
        parts: &[
            ("address-city", "city"),
            ("address-country", "country"),
            ("address-postalcode", "postalCode"),
            ("address-state", "state"),
        ],
    },
];

/// Types, a code, and the codes that together find what it finds ([`SearchParameter::members`]). Those that most resources have: half of what an
/// Observation would be found by was there twice.
const UNIONS: [(&[&str], &str, &[&str]); 7] = [
    (&["Observation"], "combo-code", &["code", "component-code"]),
    (
        &["Observation"],
        "combo-code-value-concept",
        &["code-value-concept", "component-code-value-concept"],
    ),
    (
        &["Observation"],
        "combo-code-value-quantity",
        &["code-value-quantity", "component-code-value-quantity"],
    ),
    (
        &["Observation"],
        "combo-data-absent-reason",
        &["data-absent-reason", "component-data-absent-reason"],
    ),
    (
        &["Observation"],
        "combo-value-concept",
        &["value-concept", "component-value-concept"],
    ),
    (
        &["Observation"],
        "combo-value-quantity",
        &["value-quantity", "component-value-quantity"],
    ),
    (
        &["Patient", "Person", "Practitioner", "RelatedPerson"],
        "phonetic",
        &["name"],
    ),
];

/// A definition as it stands in a SearchParameter resource, before it is bound to a type.
#[derive(Clone, Debug, Default)]
pub(crate) struct Definition {
    pub url: String,
    pub code: String,
    pub kind: Option<ParameterType>,
    pub bases: Vec<String>,
    pub expression: String,
    pub targets: Vec<String>,
    pub multiple_or: bool,
    pub multiple_and: bool,
    pub comparators: Vec<String>,
    pub modifiers: Vec<String>,
    /// Codes that may be chained to it; empty: all.
    pub chains: Vec<String>,
    /// Canonical URL, without version, of the parameter that it repeats; empty: none.
    pub derived_from: String,
    /// Canonical URL and expression of each component.
    pub components: Vec<(String, String)>,
}

impl Definition {
    fn read(mut row: Row) -> Definition {
        let owned =
            |list: &mut dyn Iterator<Item = &'static str>| list.map(str::to_owned).collect();
        let url = row.cell();
        Definition {
            url: url.to_owned(),
            code: row.cell().to_owned(),
            kind: parameter_type(row.cell()),
            bases: owned(&mut row.list(',')),
            expression: match (row.cell(), SUPPLIED.iter().find(|it| it.0 == url)) {
                ("", Some((_, expression))) => (*expression).to_owned(),
                (expression, _) => expression.to_owned(),
            },
            targets: owned(&mut row.list(',')),
            multiple_or: row.cell() == "1",
            multiple_and: row.cell() == "1",
            comparators: owned(&mut row.list(',')),
            modifiers: owned(&mut row.list(',')),
            // R5 restricts no chain.
            chains: Vec::new(),
            components: row
                .list('#')
                .filter_map(|c| c.split_once(' '))
                .map(|(url, expression)| (url.to_owned(), expression.to_owned()))
                .collect(),
            ..Definition::default()
        }
    }

    /// The parameter for one concrete type. The first problem found with its expressions comes beside it; without a compiled
    /// program the parameter can be named but not searched.
    pub(crate) fn bind(
        &self,
        resource_type: &str,
        key: ParameterKey,
        structures: &Structures,
        kind_of: &dyn Fn(&str) -> Option<ParameterType>,
    ) -> (SearchParameter, Option<CompileError>) {
        let mut problem = None;
        let mut compile = |expression: &str, base: &str| {
            PathProgram::compile(expression, base, structures)
                .map_err(|error| {
                    problem.get_or_insert(error);
                })
                .ok()
        };
        let program = match self.expression.as_str() {
            "" => None,
            expression => compile(expression, resource_type),
        };
        let mut components = Vec::with_capacity(self.components.len());
        // Where there are several types (`Observation | Observation.component`) their elements have the same names.
        let element_types = program.as_ref().map(PathProgram::types).unwrap_or_default();
        if let Some(base) = element_types.first() {
            for (definition, expression) in &self.components {
                if let Some(program) = compile(expression, base) {
                    components.push(Component {
                        definition: definition.clone(),
                        expression: expression.clone(),
                        kind: component_kind(kind_of(definition), &program.types()),
                        program,
                    });
                }
            }
        }
        let parameter = SearchParameter {
            key,
            resource_type: resource_type.to_owned(),
            code: self.code.clone(),
            url: self.url.clone(),
            kind: self.kind.unwrap_or(ParameterType::Special),
            targets: self.targets.clone(),
            expression: self.expression.clone(),
            program,
            multiple_or: self.multiple_or,
            multiple_and: self.multiple_and,
            comparators: self.comparators.clone(),
            modifiers: self.modifiers.clone(),
            chains: self.chains.clone(),
            components,
            members: Vec::new(),
            parts: Vec::new(),
            part_of: None,
        };
        (parameter, problem)
    }
}

/// A hash of what it finds in a resource, and under which number.
pub(crate) fn hash(parameter: &SearchParameter) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(&parameter.key.0.to_be_bytes());
    for text in [
        &parameter.resource_type,
        &parameter.code,
        &parameter.expression,
    ] {
        hash.update(text.as_bytes());
        hash.update(&[0]);
    }
    hash.update(&[parameter.kind as u8, parameter.components.len() as u8]);
    for component in &parameter.components {
        hash.update(component.definition.as_bytes());
        hash.update(&[0, component.kind as u8]);
        hash.update(component.expression.as_bytes());
    }
    for member in &parameter.members {
        hash.update(member.code.as_bytes());
    }
    for part in &parameter.parts {
        hash.update(part.element.as_bytes());
    }
    if let Some(StringRows { parts, .. }) = parameter.part_of {
        hash.update(&parts.to_le_bytes());
    }
    hash.digest()
}

fn read(rows: impl Iterator<Item = Row>, structures: &Structures) -> ByType {
    let mut definitions: Vec<Definition> = Vec::with_capacity(1300);
    let mut kinds: HashMap<String, ParameterType> = HashMap::with_capacity(1300);
    let numbers: HashMap<&str, usize> = structures
        .resource_types()
        .iter()
        .enumerate()
        .map(|(number, name)| (name.as_str(), number))
        .collect();
    let mut by_type: ByType = vec![Vec::new(); numbers.len()];
    let mut next_key = 0;
    for mut row in rows {
        if row.cell() == "P" {
            let definition = Definition::read(row);
            kinds.extend(definition.kind.map(|kind| (definition.url.clone(), kind)));
            definitions.push(definition);
            continue;
        }
        let (resource_type, _code, index) = (row.cell(), row.cell(), row.cell());
        let index: usize = index
            .parse()
            .expect("a K row ends with the index of a P row");
        let (parameter, _) =
            definitions[index].bind(resource_type, ParameterKey(next_key), structures, &|url| {
                kinds.get(url).copied()
            });
        by_type[numbers[resource_type]].push(Arc::new(parameter));
        next_key += 1;
    }
    for Whole { types, code, parts } in WHOLES {
        for resource_type in types {
            let parameters = &mut by_type[numbers[resource_type]];
            let whole = of_code(parameters, code).key;
            let mut own = Vec::with_capacity(parts.len());
            for (place, (code, element)) in parts.iter().enumerate() {
                let part = of_code(parameters, code);
                let parts = 1 << place;
                part.part_of = Some(StringRows { key: whole, parts });
                let key = part.key;
                own.push(Part { element, key });
            }
            of_code(parameters, code).parts = own;
        }
    }
    for (types, code, members) in UNIONS {
        for resource_type in types {
            let parameters = &mut by_type[numbers[resource_type]];
            let members = members.iter().map(|code| {
                let found = parameters.iter().find(|it| it.code == *code);
                found.expect("a code of the table").clone()
            });
            let members = members.collect();
            of_code(parameters, code).members = members;
        }
    }
    by_type
}

/// The parameter of a type while nobody else has it.
fn of_code<'p>(parameters: &'p mut [Arc<SearchParameter>], code: &str) -> &'p mut SearchParameter {
    let found = parameters.iter_mut().find(|it| it.code == code);
    found
        .and_then(Arc::get_mut)
        .expect("a code of the table, and no member of another")
}

/// The type of a composite's component: that of its definition, or what its elements ask for. R5 names 13 definitions that do not exist
/// (`ResearchStudy-state`), and takes the two of `DocumentReference.relationship` for each other.
fn component_kind(defined: Option<ParameterType>, types: &[&str]) -> ParameterType {
    let fits = |kind: &ParameterType| types.iter().any(|t| kinds_of(t).contains(kind));
    defined
        .filter(fits)
        .or_else(|| kinds_of(types.first()?).first().copied())
        .unwrap_or(ParameterType::Special)
}

/// As what elements of a type can be searched; first what is usual.
pub(crate) fn kinds_of(type_name: &str) -> &'static [ParameterType] {
    use ParameterType::*;
    match type_name {
        "code" | "id" => &[Token, String],
        "Coding" | "CodeableConcept" | "Identifier" | "ContactPoint" | "boolean" => &[Token],
        "string" => &[String, Token],
        "markdown" | "HumanName" | "Address" => &[String],
        "CodeableReference" => &[Token, Reference],
        "Reference" => &[Reference],
        "canonical" => &[Reference, Uri, String],
        "uri" | "url" | "oid" | "uuid" => &[Uri, Token, Reference, String],
        "date" | "dateTime" | "instant" | "Period" | "Timing" => &[Date],
        "decimal" | "integer" | "positiveInt" | "unsignedInt" | "integer64" => &[Number],
        "Quantity" | "Age" | "Duration" | "Count" | "Distance" | "Money" | "Range" => &[Quantity],
        _ => &[],
    }
}

/// The number of a site's own parameter: from its type and code alone, so that adding or removing another one does not
/// change it. `taken` decides about the rare collision.
pub(crate) fn own_key(
    resource_type: &str,
    code: &str,
    taken: &dyn Fn(ParameterKey) -> bool,
) -> ParameterKey {
    let room = i16::MAX - FIRST_OWN_KEY;
    let hash = xxh3_64(format!("{resource_type}.{code}").as_bytes());
    let mut offset = (hash % room as u64) as i16;
    while taken(ParameterKey(FIRST_OWN_KEY + offset)) {
        offset = (offset + 1) % room;
    }
    ParameterKey(FIRST_OWN_KEY + offset)
}

/// `SearchParameter.type`.
pub(crate) fn parameter_type(code: &str) -> Option<ParameterType> {
    Some(match code {
        "number" => ParameterType::Number,
        "date" => ParameterType::Date,
        "string" => ParameterType::String,
        "token" => ParameterType::Token,
        "reference" => ParameterType::Reference,
        "composite" => ParameterType::Composite,
        "quantity" => ParameterType::Quantity,
        "uri" => ParameterType::Uri,
        "special" => ParameterType::Special,
        "resource" => ParameterType::Resource,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::PARAMETERS;

    #[test]
    fn counts() {
        let definitions = PARAMETERS.text().lines().filter(|l| l.starts_with("P\t"));
        let with_expression = definitions
            .clone()
            .filter(|l| l.split('\t').nth(5) != Some(""));
        assert_eq!(definitions.count(), 1244);
        assert_eq!(with_expression.count(), 1231);
        let pairs: usize = r5().iter().map(Vec::len).sum();
        assert_eq!(pairs, 4328);
        assert!(pairs < FIRST_OWN_KEY as usize);
        let mut keys: Vec<i16> = r5().iter().flatten().map(|p| p.key.0).collect();
        keys.sort_unstable();
        assert_eq!(keys, (0..4328).collect::<Vec<i16>>());
        for parameters in r5() {
            assert!(parameters.is_sorted_by(|a, b| a.code < b.code));
        }
    }

    /// Pairs that the specification lists but that can select nothing: errors of R5 itself. They have no program.
    const UNSEARCHABLE: [(&str, &str); 5] = [
        // clinical-date names CareTeam.period, which R5 removed.
        ("CareTeam", "date"),
        // The components are elements of Device.conformsTo, the composite's expression is Device.
        ("Device", "code-value-concept"),
        // The union has no branch for this base.
        ("EvidenceVariable", "topic"),
        // Observation.value[x] and component.value[x] cannot be a canonical.
        ("Observation", "component-value-canonical"),
        ("Observation", "value-canonical"),
    ];

    #[test]
    fn every_expression_compiles() {
        let structures = Structures::r5();
        let mut refused = Vec::new();
        for p in r5().iter().flatten().filter(|p| !p.expression.is_empty()) {
            let pair = (p.resource_type.as_str(), p.code.as_str());
            let Some(program) = &p.program else {
                refused.push(pair);
                continue;
            };
            assert!(!program.types().is_empty(), "{pair:?} selects nothing");
            // Components are compiled for the first type of the composite's elements: they must mean the same on the others.
            for (_, expression) in &definition(&p.url).components {
                let compiled = |base| PathProgram::compile(expression, base, structures).is_ok();
                if !program.types().into_iter().all(compiled) {
                    refused.push(pair);
                }
            }
        }
        refused.dedup();
        assert_eq!(refused, UNSEARCHABLE);
    }

    /// A union has the branches of its members, neither more nor fewer, and means the same by them.
    #[test]
    fn unions_are_their_members() {
        let branches = |parameter: &SearchParameter| {
            let is_of_type = |branch: &str| {
                let rest = branch.strip_prefix(parameter.resource_type.as_str());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            let branches = parameter.expression.split('|').map(str::trim);
            let branches = branches.map(|branch| {
                let whole = branch.strip_prefix('(').and_then(|it| it.strip_suffix(')'));
                whole.unwrap_or(branch).to_owned()
            });
            branches
                .filter(|branch| is_of_type(branch))
                .collect::<std::collections::BTreeSet<String>>()
        };
        let components = |parameter: &SearchParameter| {
            let of = |it: &Component| (it.expression.clone(), it.kind);
            parameter.components.iter().map(of).collect::<Vec<_>>()
        };
        let mut unions = 0;
        for union in r5().iter().flatten().filter(|it| !it.members.is_empty()) {
            let together = union.members.iter().flat_map(|it| branches(it)).collect();
            assert_eq!(branches(union), together, "{}", union.url);
            for member in &union.members {
                assert!(member.members.is_empty() && member.program.is_some());
                assert_eq!(member.kind, union.kind, "{}", union.url);
                assert_eq!(components(member), components(union), "{}", union.url);
            }
            unions += 1;
        }
        assert_eq!(unions, 10);
    }

    /// The parameter of a part finds an element of each name or address that the whole finds, and nothing else.
    #[test]
    fn parts_are_of_their_wholes() {
        let branches = |parameter: &SearchParameter| {
            let own = format!("{}.", parameter.resource_type);
            let all = parameter.expression.split('|').map(str::trim);
            let all = all.filter(|branch| branch.starts_with(&own));
            all.map(str::to_owned).collect::<Vec<String>>()
        };
        let mut found = 0;
        for of_type in r5() {
            for whole in of_type {
                for (place, part) in whole.parts.iter().enumerate() {
                    let own = of_type.iter().find(|it| it.key == part.key).unwrap();
                    let rows = own.part_of.unwrap();
                    assert_eq!((rows.key, rows.parts), (whole.key, 1 << place));
                    assert_eq!(whole.part(part.element), Some((rows.parts, own.key)));
                    assert!(rows.have(whole.key, rows.parts | 8) && !rows.have(whole.key, 16));
                    assert_eq!(
                        (own.kind, whole.kind),
                        (ParameterType::String, ParameterType::String)
                    );
                    let expect = branches(whole).into_iter();
                    let expect: Vec<String> = expect
                        .map(|branch| format!("{branch}.{}", part.element))
                        .collect();
                    assert_eq!(branches(own), expect, "{}", own.url);
                    found += 1;
                }
            }
        }
        assert_eq!(found, 4 * 2 + 7 * 4);
    }

    #[test]
    fn one_date() {
        let structures = Structures::r5();
        for (resource_type, code, one, no_periods) in [
            ("Patient", "birthdate", true, true),
            ("Patient", "death-date", true, true),
            ("Observation", "date", true, false),
            ("Observation", "value-date", true, false),
            ("Encounter", "date", true, false),
            ("Condition", "onset-date", true, false),
            ("Condition", "recorded-date", true, true),
            ("DiagnosticReport", "date", true, false),
            ("Immunization", "date", true, true),
            ("MedicationRequest", "authoredon", true, true),
            ("Appointment", "date", true, true),
            ("Goal", "target-date", false, true),
            ("Observation", "code", false, false),
            ("Observation", "code-value-date", false, false),
        ] {
            let types = structures.resource_types();
            let number = types.iter().position(|name| name == resource_type).unwrap();
            let found = r5()[number].iter().find(|p| p.code == code).unwrap();
            let got = (found.one_date(), found.no_periods());
            assert_eq!(got, (one, no_periods), "{resource_type}.{code}");
        }
    }

    #[test]
    fn composites_have_their_components() {
        let composites = r5()
            .iter()
            .flatten()
            .filter(|p| p.kind == ParameterType::Composite);
        let (whole, broken): (Vec<_>, Vec<_>) = composites.partition(|p| p.components.len() > 1);
        assert_eq!((whole.len(), broken.len()), (83, 1));
        let code_value = whole
            .iter()
            .find(|p| p.code == "combo-code-value-quantity")
            .unwrap();
        let kinds: Vec<_> = code_value.components.iter().map(|c| c.kind).collect();
        assert_eq!(kinds, [ParameterType::Token, ParameterType::Quantity]);
    }

    fn definition(url: &str) -> &'static Definition {
        static ALL: OnceLock<HashMap<String, Definition>> = OnceLock::new();
        let all = ALL.get_or_init(|| {
            let rows = PARAMETERS
                .rows()
                .filter_map(|mut row| (row.cell() == "P").then_some(row));
            rows.map(Definition::read)
                .map(|d| (d.url.clone(), d))
                .collect()
        });
        &all[url]
    }

    #[test]
    fn own_keys_do_not_depend_on_others() {
        let free = own_key("Patient", "displacement-status", &|_| false);
        assert_eq!(free, own_key("Patient", "displacement-status", &|_| false));
        assert!(free.0 >= FIRST_OWN_KEY);
        let next = own_key("Patient", "displacement-status", &|key| key == free);
        assert_eq!(next.0, free.0 + 1);
        let last = own_key("Patient", "x", &|key| key.0 != FIRST_OWN_KEY);
        assert_eq!(last.0, FIRST_OWN_KEY);
    }
}
