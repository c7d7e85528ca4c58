//! Path programs: the subset of FHIRPath that the R5 search parameters use, compiled to steps.

use crate::types::TypeModel;
use serde_json::Value;

/// An expression compiled for one base type. A union keeps only the branches of that type.
#[derive(Debug)]
pub struct PathProgram {}

/// One result: an element of the resource and its FHIR type.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    pub value: &'a Value,
    /// `CodeableConcept`, `code`, `Period`, `Reference`, … ; the type the instance has where the element is a choice.
    pub type_name: &'a str,
}

/// The expression is not in the subset, or names an element that the type does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message} (at character {position})")]
pub struct CompileError {
    pub message: String,
    /// Character offset in the expression.
    pub position: usize,
}

impl PathProgram {
    /// Compiles `expression` for instances of `base` (a resource type, or the type of a composite's element).
    ///
    /// # Errors
    /// [`CompileError`] with the place.
    pub fn compile(
        expression: &str,
        base: &str,
        model: &dyn TypeModel,
    ) -> Result<PathProgram, CompileError> {
        let _ = (expression, base, model);
        Err(CompileError {
            message: "not yet".into(),
            position: 0,
        })
    }

    /// Runs the program and appends what it selects to `out`, in document order.
    pub fn run<'a>(&'a self, focus: &'a Value, out: &mut Vec<Node<'a>>) {
        let _ = (focus, out);
    }
}
