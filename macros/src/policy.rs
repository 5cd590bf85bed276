//! How long answers are kept: how the code of a policy looks.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::spanned::Spanned;
use syn::{Error, Expr, LitInt, Result};

use crate::settings::{Settings, text_of};

/// The settings that [`policy`] reads.
pub(crate) const SETTINGS: [&str; 3] = ["ttl", "negative_ttl", "policy"];

/// The policy that `ttl`, `negative_ttl` and `policy` say, if they say anything.
pub(crate) fn policy(settings: &mut Settings) -> Result<Option<TokenStream>> {
    let ttl = settings.value("ttl")?;
    let negative_ttl = settings.value("negative_ttl")?;
    let base = settings.value("policy")?;
    let is_optional = negative_ttl.as_ref().map(Spanned::span);
    let ttl = ttl.as_ref().map(duration).transpose()?;
    let negative_ttl = negative_ttl.as_ref().map(duration).transpose()?;
    let base = match (base, &ttl) {
        (Some(base), None) if negative_ttl.is_none() => return Ok(Some(base.into_token_stream())),
        (Some(base), _) => base.into_token_stream(),
        (None, Some(ttl)) if negative_ttl.is_none() => {
            return Ok(Some(quote!(::alacena::cache::Policy::lasting(#ttl))));
        }
        (None, Some(ttl)) => {
            let ttl = ttl.clone();
            let negative_ttl = negative_ttl.into_iter();
            return Ok(Some(quote! {
                ::alacena::cache::Policy {
                    #(negative_ttl: #negative_ttl,)*
                    ..::alacena::cache::Policy::lasting(#ttl)
                }
            }));
        }
        (None, None) => {
            return match is_optional {
                Some(span) => Err(Error::new(span, "a negative TTL needs a `ttl` beside it")),
                None => Ok(None),
            };
        }
    };
    let ttl = ttl.into_iter();
    let negative_ttl = negative_ttl.into_iter();
    Ok(Some(quote! {
        ::alacena::cache::Policy {
            #(ttl: #ttl,)*
            #(negative_ttl: #negative_ttl,)*
            ..#base
        }
    }))
}

/// A time, read from a text here and now, or any other code that makes a `Duration`.
pub(crate) fn duration(value: &Expr) -> Result<TokenStream> {
    let Some(text) = text_of(value) else {
        if let Expr::Lit(_) = value {
            let message = "a time has a unit: `\"30m\"`, `\"1h 30m\"`, `\"500ms\"`";
            return Err(Error::new(value.span(), message));
        }
        return Ok(value.to_token_stream());
    };
    let parsed = humantime::parse_duration(&text.value()).map_err(|error| {
        let message = format!(
            "`{}` is no time: {error}; write `30m`, `1h 30m` or `500ms`",
            text.value()
        );
        Error::new(text.span(), message)
    })?;
    if parsed.is_zero() {
        return Err(Error::new(text.span(), "a time to live is longer than 0s"));
    }
    let (seconds, millis) = (parsed.as_secs(), parsed.as_millis());
    if u128::from(seconds) * 1000 == millis {
        let seconds = LitInt::new(&seconds.to_string(), Span::call_site());
        return Ok(quote!(::core::time::Duration::from_secs(#seconds)));
    }
    let millis = LitInt::new(&millis.to_string(), Span::call_site());
    Ok(quote!(::core::time::Duration::from_millis(#millis)))
}
