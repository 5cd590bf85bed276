//! What the service is about, in types that cannot hold what is not allowed.

mod calculation;
mod email;
mod invalid;
mod page;
mod password;
mod product;
mod role;
mod text;
mod user;

pub use calculation::Calculation;
pub use email::Email;
pub use invalid::{FieldError, Invalid, Validation};
pub use page::{MAX_LIMIT, MAX_SKIP, Page, Start};
pub use password::Password;
pub use product::{NewProduct, Product, ProductChange};
pub use role::Role;
pub use text::{Description, FullName, ProductName};
pub use user::{Checked, Credentials, NewUser, User, UserChange};
