//! What is in a compartment (<https://hl7.org/fhir/R5/compartmentdefinition.html>), as a clause: a resource that refers to the compartment's owner by
//! one of the parameters that the definition names for its type, or is the owner. Compartments of several owners are joined.

use crate::query::{ChainedClause, Clause, Modifier, ReferenceMatch, ValueMatch};
use fhir_definitions::Definitions;
use fhir_model::ResourceKey;

/// Holds for the resources of `types` that are in the compartment of one of `owners`, which are of one type; for none of a type that never is in it, nor where the
/// owner's type has no compartments.
pub fn clause(definitions: &Definitions, owners: &[ResourceKey], types: &[String]) -> Clause {
    let mut by_type: Vec<(String, Clause)> = types
        .iter()
        .map(|name| (name.clone(), of_type(definitions, owners, name)))
        .filter(|(_, clause)| !matches!(clause, Clause::Any(clauses) if clauses.is_empty()))
        .collect();
    match (types, by_type.pop()) {
        (_, None) => Clause::Any(Vec::new()),
        ([_], Some((_, clause))) => clause,
        (_, Some(last)) => {
            by_type.push(last);
            Clause::ByType(ChainedClause { by_type })
        }
    }
}

fn of_type(definitions: &Definitions, owners: &[ResourceKey], resource_type: &str) -> Clause {
    let owner_type = owners.first().map_or("", |owner| &owner.resource_type);
    let Some(compartment) = definitions.compartment(owner_type) else {
        return Clause::Any(Vec::new());
    };
    let codes = compartment.parameters(resource_type).iter();
    Clause::Any(
        codes
            .filter_map(|code| match *code {
                "{def}" => {
                    let ids = owners.iter().map(|owner| owner.id.clone());
                    Some(Clause::Id(ids.collect()))
                }
                code => {
                    let parameter = definitions.search_parameter(resource_type, code)?;
                    let value = ReferenceMatch::Local(owners.to_vec());
                    Some(Clause::Param {
                        parameter: parameter.clone(),
                        modifier: Modifier::None,
                        values: vec![ValueMatch::Reference(value)],
                    })
                }
            })
            .collect(),
    )
}
