use super::invalid::Invalid;

/// Defines a text of limited length, trimmed, without control characters.
macro_rules! limited_text {
    ($(#[$doc:meta])* $name:ident, $range:expr, $extra:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name(String);

        impl $name {
            /// Reads one, without the blanks around it.
            ///
            /// # Errors
            /// Says what is accepted.
            pub fn parse(text: &str) -> Result<Self, Invalid> {
                limited(text, $range, $extra).map(Self)
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
    };
}

limited_text!(
    /// A person's name: 1 to 200 characters.
    FullName, 1..=200, &[]
);
limited_text!(
    /// A product's name: 1 to 200 characters.
    ProductName, 1..=200, &[]
);
limited_text!(
    /// A product's description: up to 5000 characters, with line breaks and tabs.
    Description, 0..=5000, &['\n', '\r', '\t']
);

fn limited(
    text: &str,
    range: std::ops::RangeInclusive<usize>,
    allowed: &[char],
) -> Result<String, Invalid> {
    let text = text.trim();
    if !range.contains(&text.chars().count()) {
        return Err(Invalid::because(format!(
            "must have from {} to {} characters",
            range.start(),
            range.end()
        )));
    }
    if text
        .chars()
        .any(|c| c.is_control() && !allowed.contains(&c))
    {
        return Err(Invalid::because("must not have control characters"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_trimmed_and_limited_in_characters_not_bytes() {
        assert_eq!(
            FullName::parse("  Ana López ").expect("valid").as_str(),
            "Ana López"
        );
        assert!(FullName::parse(&"é".repeat(200)).is_ok());
        assert!(FullName::parse(&"é".repeat(201)).is_err());
        assert!(FullName::parse("   ").is_err());
        assert!(FullName::parse("Ana\u{0}").is_err());
    }

    #[test]
    fn descriptions_may_be_empty_and_have_lines() {
        assert!(Description::parse("").is_ok());
        assert!(Description::parse("a\n\tb").is_ok());
        assert!(Description::parse("a\u{1b}b").is_err());
    }
}
