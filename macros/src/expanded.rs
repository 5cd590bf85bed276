//! What the attributes write is what a person can read: it is compared with files that one can.

use std::path::Path;

use proc_macro2::TokenStream;
use quote::quote;

/// Compares with `tests/expanded/NAME.rs`, or writes that with `TRYBUILD=overwrite`.
fn is_as_in(name: &str, expanded: syn::Result<TokenStream>) {
    let expanded = expanded.expect("it expands");
    // Methods stand in an impl.
    let expanded = syn::parse2(quote!(impl Products { #expanded })).expect("it is Rust");
    let written = prettyplease::unparse(&expanded);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/expanded");
    let path = path.join(name).with_extension("rs");
    if std::env::var("TRYBUILD").is_ok_and(|what| what == "overwrite") {
        std::fs::write(&path, &written).expect("the file can be written");
    }
    let expected = std::fs::read_to_string(&path).expect("the file is there");
    assert_eq!(written, expected, "{}", path.display());
}

#[test]
fn a_cached_method_reads_as_if_written_by_hand() {
    let settings = quote! {
        key = "product:{id}", ttl = "30m", negative_ttl = "30s"
    };
    let method = quote! {
        /// The product of this id.
        pub async fn by_id(&self, id: i64) -> Result<Option<Document>, Error> {
            load(&self.db, id).await
        }
    };
    let settings = syn::parse2(settings).expect("settings");
    is_as_in("cached", crate::cached::expand(settings, method));
}

#[test]
fn a_method_that_invalidates_reads_as_if_written_by_hand() {
    let settings = quote! {
        key = "product:{id}", group = "products:list:*", through = &result.value,
        policy = self.policies.product, at = result.position, patience = self.patience
    };
    let method = quote! {
        /// Changes the product of this id.
        pub async fn update(&self, id: i64, change: ProductChange) -> Result<Committed<Document>, Error> {
            self.db.update_product(id, change).await
        }
    };
    let settings = syn::parse2(settings).expect("settings");
    is_as_in("invalidates", crate::invalidates::expand(settings, method));
}
