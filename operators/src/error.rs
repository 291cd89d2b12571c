//! What can go wrong inside an operator.

use thiserror::Error;

/// An error raised by an operator.
///
/// The engine adds the operator's name, the instance and the epoch before a user sees it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OperatorError {
    /// The user's own function returned an error.
    #[error("the user function failed: {0}")]
    User(String),
    /// An expression could not be evaluated on the data.
    #[error("{0}")]
    Expression(String),
    /// A value could not be turned into the bytes of a snapshot.
    #[error("state of table `{table}` could not be encoded: {cause}")]
    Encode {
        /// The state table within the operator.
        table: &'static str,
        /// What the encoder said.
        cause: String,
    },
    /// The bytes of a snapshot do not describe the state this operator keeps.
    #[error(
        "state of table `{table}` could not be read back: {cause}; the checkpoint was written by a query \
         whose key or value type differs from this one"
    )]
    Decode {
        /// The state table within the operator.
        table: String,
        /// What the decoder said.
        cause: String,
    },
    /// A service outside gave no answer.
    #[error("no answer for the key {key}: {cause}")]
    Lookup {
        /// The key that was asked for.
        key: String,
        /// What the last attempt said.
        cause: String,
    },
    /// A limit of [`crate::limits`] was reached.
    #[error("limit reached: {0}")]
    Limit(String),
}

/// The result of an operator call.
pub type Result<T, E = OperatorError> = std::result::Result<T, E>;
