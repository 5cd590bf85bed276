//! Templates of keys: `product:{id}`.

/// A text with arguments in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template(pub(crate) Vec<Piece>);

/// A piece of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// This text, as it is.
    Text(String),
    /// The value of an argument, or of a field inside it: `{page.limit}`.
    Value(Vec<String>),
}

impl Template {
    /// Reads a template. `{{` and `}}` stand for the braces themselves.
    ///
    /// # Errors
    /// What is wrong with it, as a person would say it.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text.chars();
        while let Some(c) = rest.next() {
            let is_doubled = rest.as_str().starts_with(c);
            match c {
                '{' | '}' if is_doubled => {
                    rest.next();
                    literal.push(c);
                }
                '{' => {
                    let Some((inside, after)) = rest.as_str().split_once('}') else {
                        return Err("a `{` has no `}`; `{{` stands for the brace itself".to_owned());
                    };
                    if !literal.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut literal)));
                    }
                    pieces.push(Piece::Value(path(inside)?));
                    rest = after.chars();
                }
                '}' => {
                    return Err("a `}` has no `{`; `}}` stands for the brace itself".to_owned());
                }
                _ => literal.push(c),
            }
        }
        if !literal.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        Self(pieces).kept_apart()
    }

    /// Whether it has no value in it.
    pub(crate) fn is_constant(&self) -> bool {
        self.values().next().is_none()
    }

    /// The values in it.
    pub(crate) fn values(&self) -> impl Iterator<Item = &[String]> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Value(path) => Some(&path[..]),
            Piece::Text(_) => None,
        })
    }

    /// Refuses values that could run into each other. Those that a colon or an equals sign stands
    /// between cannot: no value holds either.
    fn kept_apart(self) -> Result<Self, String> {
        let mut before: Option<&[String]> = None;
        for piece in &self.0 {
            match piece {
                Piece::Text(text) if text.contains([':', '=']) => before = None,
                Piece::Text(_) => {}
                Piece::Value(path) => {
                    if let Some(before) = before {
                        return Err(format!(
                            "`{}` and `{}` can run into each other; put a `:` or `=` between them",
                            before.join("."),
                            path.join(".")
                        ));
                    }
                    before = Some(path);
                }
            }
        }
        Ok(self)
    }
}

/// `page.limit`
fn path(text: &str) -> Result<Vec<String>, String> {
    let names: Vec<&str> = text.split('.').map(str::trim).collect();
    let is_name = |name: &&str| {
        let mut chars = name.chars();
        chars.next().is_some_and(|c| c.is_alphabetic() || c == '_')
            && chars.all(|c| c.is_alphanumeric() || c == '_')
    };
    if !names.iter().all(is_name) {
        return Err(format!(
            "`{{{text}}}` is no argument; braces take one, as in `{{id}}`, or a field, as in \
             `{{page.limit}}`"
        ));
    }
    Ok(names.into_iter().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pieces(text: &str) -> Vec<Piece> {
        Template::parse(text).expect("a template").0
    }

    fn text(text: &str) -> Piece {
        Piece::Text(text.to_owned())
    }

    fn value(path: &str) -> Piece {
        Piece::Value(path.split('.').map(str::to_owned).collect())
    }

    #[test]
    fn a_template_has_texts_and_values_in_turn() {
        assert_eq!(pieces("product:{id}"), [text("product:"), value("id")]);
        assert_eq!(
            pieces("{a}:{page.limit}!"),
            [value("a"), text(":"), value("page.limit"), text("!")]
        );
        assert_eq!(pieces("{{{a}}}"), [text("{"), value("a"), text("}")]);
        assert_eq!(pieces(""), []);
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for wrong in [
            "{", "a}", "{id", "{}", "{1}", "{a b}", "{a.}", "{a:?}", "}{",
        ] {
            assert!(Template::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn values_that_could_run_into_each_other_are_refused() {
        assert!(Template::parse("{a}{b}").is_err());
        assert!(Template::parse("{a}-{b}").is_err());
        assert!(Template::parse("{a}-x=y-{b}").is_ok());
        assert!(Template::parse("{a}:{b}").is_ok());
    }

    fn piece() -> impl Strategy<Value = Piece> {
        prop_oneof![
            "[ab:{}=é]{1,6}".prop_map(Piece::Text),
            proptest::collection::vec("[a-z_][a-z0-9_]{0,5}", 1..3).prop_map(Piece::Value),
        ]
    }

    /// Writes a template that reads as these pieces.
    fn written(pieces: &[Piece]) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.replace('{', "{{").replace('}', "}}"),
            Piece::Value(path) => format!("{{{}}}", path.join(".")),
        };
        pieces.iter().map(piece).collect()
    }

    proptest! {
        #[test]
        fn any_text_is_a_template_or_refused(text in "\\PC{0,40}") {
            let _ = Template::parse(&text);
        }

        #[test]
        fn a_template_reads_as_it_was_written(pieces in proptest::collection::vec(piece(), 0..6)) {
            // Texts side by side are one.
            let mut joined: Vec<Piece> = Vec::new();
            for piece in &pieces {
                match (joined.last_mut(), piece) {
                    (Some(Piece::Text(before)), Piece::Text(text)) => before.push_str(text),
                    _ => joined.push(piece.clone()),
                }
            }
            match Template::parse(&written(&pieces)) {
                Ok(read) => prop_assert_eq!(read.0, joined),
                Err(why) => prop_assert!(why.contains("run into"), "{}", why),
            }
        }
    }
}
