//! Composites (<https://hl7.org/fhir/R5/search.html#composite>): all parts hold of one and the same element.

use crate::elements::{self, Element};
use crate::{Resource, Unknown, World};
use fhir_definitions::SearchParameter;
use fhir_search::query::{Modifier, ValueMatch};

impl World<'_> {
    pub(crate) fn composite(
        &self,
        parameter: &SearchParameter,
        parts: &[ValueMatch],
        element: &Element,
        resource: &Resource,
    ) -> Result<bool, Unknown> {
        for (component, part) in parameter.components.iter().zip(parts) {
            let found = elements::of_component(
                component,
                element,
                &resource.body,
                self.definitions,
                &self.programs,
            );
            let mut holds = false;
            for element in &found {
                holds |= self.value(parameter, Modifier::None, part, element, resource)?;
            }
            if !holds {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
