//! What the compiler must know of the FHIR types. Implemented by the definitions; small enough to write out in a test.

/// One element of a type, as the StructureDefinition's snapshot says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ElementType<'m> {
    /// Type names the element may have: `HumanName`, `code`, or the path of a backbone element (`Patient.contact`).
    /// More than one only for a choice (`value[x]`).
    pub types: Vec<&'m str>,
    /// Whether this is a choice element: its JSON name is the element's name and the type's, capitalised.
    pub choice: bool,
    /// Whether it may repeat.
    pub array: bool,
}

/// The types of the specification, as far as paths need them.
pub trait TypeModel {
    /// The element `name` of `type_name` (`Patient`, `HumanName`, or a backbone path `Patient.contact`), inherited elements
    /// included. For a choice `name` is without `[x]`. `None` when there is no such element.
    fn element(&self, type_name: &str, name: &str) -> Option<ElementType<'_>>;

    /// Whether `type_name` is `ancestor` or derived from it (`Age` is a `Quantity`, `Patient` a `DomainResource`, `code` a `string`).
    fn is_a(&self, type_name: &str, ancestor: &str) -> bool;

    /// Whether there is a type of this name.
    fn is_type(&self, name: &str) -> bool {
        let _ = name;
        true
    }

    /// The type that `type_name` derives from.
    fn base(&self, type_name: &str) -> Option<&str> {
        let _ = type_name;
        None
    }

    /// The code system that the binding of a `code` element implies: with it a search for `system|code` finds the code. `None` when the
    /// element has no such binding, or one that draws on several systems.
    fn code_system(&self, type_name: &str, name: &str) -> Option<String> {
        let _ = (type_name, name);
        None
    }
}
