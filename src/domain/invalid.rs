use serde::Serialize;

/// One field that was not acceptable, and what would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct FieldError {
    /// The field's name.
    #[schema(example = "email")]
    pub field: String,
    /// What is wrong with it and what is accepted.
    #[schema(example = "must have exactly one @ between a name and a domain")]
    pub message: String,
}

/// Why a value is not acceptable, as the end of a sentence that begins with the field's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

impl Invalid {
    /// With this reason.
    pub fn because(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// Collects what is wrong with several fields, so that all of it is said at once.
#[derive(Debug, Default)]
pub struct Validation(Vec<FieldError>);

impl Validation {
    /// The value, or `None` after noting why `field` has none.
    pub fn check<T>(&mut self, field: &str, result: Result<T, Invalid>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(Invalid(message)) => {
                let field = field.to_owned();
                self.0.push(FieldError { field, message });
                None
            }
        }
    }

    /// As [`check`](Self::check), for a field that may be left out.
    pub fn check_given<T>(&mut self, field: &str, result: Option<Result<T, Invalid>>) -> Option<T> {
        result.and_then(|result| self.check(field, result))
    }

    /// What `build` makes, if nothing was wrong. `build` answers `None` only where a check did.
    ///
    /// # Errors
    /// Everything that was noted.
    pub fn finish<T>(self, build: impl FnOnce() -> Option<T>) -> Result<T, Vec<FieldError>> {
        match build() {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(self.0),
        }
    }
}
