use serde::Serialize;

/// What the slow calculation came to.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Calculation {
    /// What it is made of.
    #[schema(example = "calculation_result_kettle_7")]
    pub result: String,
    /// When it was done, in seconds since the Unix epoch.
    #[schema(example = 1_795_646_400.25)]
    pub timestamp: f64,
}
