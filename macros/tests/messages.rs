//! What is said to whoever holds an attribute wrong, and where.

#[test]
fn mistakes_are_named_where_they_are_made() {
    trybuild::TestCases::new().compile_fail("tests/messages/*.rs");
}
