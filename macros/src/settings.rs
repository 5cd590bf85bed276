//! What stands in an attribute's parentheses: `ttl = "30m", skip(db)`.

use proc_macro2::Span;
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Error, Expr, ExprLit, Ident, Lit, LitStr, Result, Token, parenthesized};

/// Every setting of an attribute, in their order.
pub(crate) struct Settings(Vec<Setting>);

struct Setting {
    name: Ident,
    form: Form,
}

enum Form {
    /// `name = value`
    Value(Expr),
    /// `name(some, of, these)`
    Names(Vec<Ident>),
    /// `name`
    Flag,
}

impl Parse for Settings {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let settings = Punctuated::<Setting, Token![,]>::parse_terminated(input)?;
        Ok(Self(settings.into_iter().collect()))
    }
}

impl Parse for Setting {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        // `if` is a name here.
        let name = Ident::parse_any(input)?;
        let form = if input.peek(Token![=]) {
            input.parse::<Token![=]>()?;
            Form::Value(input.parse()?)
        } else if input.peek(syn::token::Paren) {
            let names;
            parenthesized!(names in input);
            let names = Punctuated::<Ident, Token![,]>::parse_terminated(&names)?;
            Form::Names(names.into_iter().collect())
        } else {
            Form::Flag
        };
        Ok(Self { name, form })
    }
}

impl Settings {
    /// Refuses settings of other names than these.
    pub(crate) fn only(self, known: &[&str]) -> Result<Self> {
        for Setting { name, .. } in &self.0 {
            if !known.contains(&name.to_string().as_str()) {
                let known = known.join("`, `");
                let message = format!("there is no setting `{name}`; there are `{known}`");
                return Err(Error::new(name.span(), message));
            }
        }
        Ok(self)
    }

    /// Takes the settings of this name out.
    fn take(&mut self, name: &str) -> Vec<Setting> {
        let (taken, left) = std::mem::take(&mut self.0)
            .into_iter()
            .partition(|setting| setting.name == name);
        self.0 = left;
        taken
    }

    /// The values of the settings of this name.
    pub(crate) fn values(&mut self, name: &str) -> Result<Vec<Expr>> {
        let values = self.take(name).into_iter();
        values
            .map(|Setting { name, form }| match form {
                Form::Value(value) => Ok(value),
                _ => Err(Error::new(
                    name.span(),
                    format!("`{name}` takes a value: `{name} = …`"),
                )),
            })
            .collect()
    }

    /// The value of the setting of this name, if it is there.
    pub(crate) fn value(&mut self, name: &str) -> Result<Option<Expr>> {
        let mut values = self.values(name)?.into_iter();
        let value = values.next();
        match values.next() {
            Some(second) => Err(Error::new(second.span(), format!("`{name}` is set twice"))),
            None => Ok(value),
        }
    }

    /// The text that the setting of this name has for its value.
    pub(crate) fn text(&mut self, name: &str) -> Result<Option<LitStr>> {
        let value = self.value(name)?;
        value
            .map(|value| {
                text_of(&value).ok_or_else(|| {
                    let message = format!("`{name}` takes a text: `{name} = \"…\"`");
                    Error::new(value.span(), message)
                })
            })
            .transpose()
    }

    /// The names in the parentheses behind this one.
    pub(crate) fn names(&mut self, name: &str) -> Result<Vec<Ident>> {
        let lists = self.take(name).into_iter().map(|Setting { name, form }| {
            let Form::Names(names) = form else {
                let message = format!("`{name}` takes names: `{name}(db)`");
                return Err(Error::new(name.span(), message));
            };
            Ok(names)
        });
        Ok(lists.collect::<Result<Vec<_>>>()?.concat())
    }

    /// Where the flag of this name stands, if it is there.
    pub(crate) fn flag(&mut self, name: &str) -> Result<Option<Span>> {
        let flag = self.take(name).into_iter().next();
        flag.map(|Setting { name, form }| match form {
            Form::Flag => Ok(name.span()),
            _ => Err(Error::new(name.span(), format!("`{name}` takes no value"))),
        })
        .transpose()
    }
}

/// The text, if the expression is one.
pub(crate) fn text_of(value: &Expr) -> Option<LitStr> {
    match value {
        Expr::Lit(ExprLit {
            lit: Lit::Str(text),
            ..
        }) => Some(text.clone()),
        _ => None,
    }
}
