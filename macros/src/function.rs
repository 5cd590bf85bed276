//! The function that an attribute stands on.

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{
    Attribute, Block, Error, Expr, FnArg, GenericArgument, GenericParam, ItemFn, Pat, PatIdent,
    PatType, PathArguments, Receiver, ReceiverKind, Result, ReturnType, Signature, Type, TypePath,
    Visibility,
};

/// An async function or method, taken apart.
pub(crate) struct Function {
    /// What says how the function is used: documentation and the like.
    pub(crate) attributes: Vec<Attribute>,
    /// `#[cfg(…)]` and `#[allow(…)]`, for everything that is made of it.
    pub(crate) conditions: Vec<Attribute>,
    /// What is left, which is about the body.
    pub(crate) body_attributes: Vec<Attribute>,
    pub(crate) visibility: Visibility,
    pub(crate) signature: Signature,
    pub(crate) body: Block,
    pub(crate) receiver: Option<Receiver>,
    pub(crate) arguments: Vec<Argument>,
    pub(crate) outcome: Outcome,
}

/// An argument besides `self`.
#[derive(Clone)]
pub(crate) struct Argument {
    pub(crate) name: Ident,
    pub(crate) ty: Type,
    declaration: PatType,
}

/// What the function answers.
pub(crate) struct Outcome {
    /// What is kept.
    pub(crate) value: Type,
    /// Whether there may be none.
    pub(crate) is_optional: bool,
    /// Why there may be no answer.
    pub(crate) error: Option<Type>,
}

impl Function {
    /// Takes the function apart, unless it is one that cannot be called anew at any time.
    pub(crate) fn parse(item: TokenStream, attribute: &str) -> Result<Self> {
        let ItemFn {
            attrs,
            vis,
            sig,
            block,
            ..
        } = syn::parse2(item).map_err(|error| {
            let message = format!("#[{attribute}] stands on an async function or method: {error}");
            Error::new(error.span(), message)
        })?;
        if sig.asyncness.is_none() {
            let message = format!("#[{attribute}] takes an async function: the cache has to wait");
            return Err(Error::new(sig.fn_token.span(), message));
        }
        for parameter in &sig.generics.params {
            if !matches!(parameter, GenericParam::Lifetime(_)) {
                let message = "a generic function is as many functions as there are types, and they \
                               would share their keys";
                return Err(Error::new(parameter.span(), message));
            }
        }
        let mut receiver = None;
        let mut arguments = Vec::new();
        for input in &sig.inputs {
            match input {
                FnArg::Receiver(this) => {
                    check_receiver(this)?;
                    receiver = Some(this.clone());
                }
                FnArg::Typed(typed) => arguments.push(Argument::parse(typed)?),
            }
        }
        let mut function = Self {
            attributes: Vec::new(),
            conditions: Vec::new(),
            body_attributes: Vec::new(),
            visibility: vis,
            outcome: Outcome::parse(&sig)?,
            signature: sig,
            body: *block,
            receiver,
            arguments,
        };
        for attribute in attrs {
            let is = |name| attribute.path().is_ident(name);
            if is("cfg") || is("allow") {
                function.conditions.push(attribute);
            } else if is("doc") || is("must_use") || is("deprecated") {
                function.attributes.push(attribute);
            } else {
                function.body_attributes.push(attribute);
            }
        }
        Ok(function)
    }

    pub(crate) fn name(&self) -> &Ident {
        &self.signature.ident
    }

    pub(crate) fn argument(&self, name: &Ident) -> Option<&Argument> {
        self.arguments
            .iter()
            .find(|argument| argument.name == *name)
    }

    /// The cache: as the attribute says, or an argument `cache`, or `self.cache`.
    pub(crate) fn cache(&self, given: Option<Expr>) -> Result<Cache> {
        if let Some(given) = given {
            let argument = match &given {
                Expr::Path(path) => path.path.get_ident().cloned(),
                _ => None,
            };
            let argument = argument.filter(|name| self.argument(name).is_some());
            return Ok(Cache {
                argument,
                expression: given.into_token_stream(),
            });
        }
        let by_name = self
            .arguments
            .iter()
            .find(|argument| argument.name == "cache");
        if let Some(argument) = by_name {
            let name = &argument.name;
            return Ok(Cache {
                argument: Some(name.clone()),
                expression: quote!(#name),
            });
        }
        let Some(receiver) = &self.receiver else {
            let message = "there is no cache to go through: add an argument `cache: &Cache`, or say \
                           where it is with `cache = …`";
            return Err(Error::new(self.name().span(), message));
        };
        let this = receiver.self_token;
        let cache = Ident::new("cache", this.span());
        Ok(Cache {
            argument: None,
            expression: quote!(#this.#cache),
        })
    }

    /// The arguments that the body gets: all, but for a cache that it does not mention.
    pub(crate) fn body_arguments(&self, cache: &Cache) -> Vec<&Argument> {
        let is_idle = |argument: &&Argument| {
            cache.argument.as_ref() == Some(&argument.name)
                && !mentions(&self.body.to_token_stream(), &argument.name)
        };
        let arguments = self.arguments.iter();
        arguments.filter(|argument| !is_idle(argument)).collect()
    }

    /// What a task needs copies of to call the body, which goes by this name, and the call.
    pub(crate) fn in_a_task(&self, cache: &Cache, body: &Ident) -> (TokenStream, TokenStream) {
        let arguments = self.body_arguments(cache);
        let owned = arguments.iter().filter_map(|argument| argument.owned());
        let passed_on = arguments.iter().map(|argument| argument.passed_on());
        let (clone, path) = match &self.receiver {
            Some(receiver) => {
                let this = receiver.self_token;
                let copy = quote_spanned!(Span::mixed_site()=> let this = ::core::clone::Clone::clone(#this););
                (Some(copy), quote_spanned!(Span::mixed_site()=> this.))
            }
            None => (None, TokenStream::new()),
        };
        (
            quote!(#clone #(#owned)*),
            quote!(#path #body(#(#passed_on),*)),
        )
    }

    /// The function of the body, under a name of its own.
    pub(crate) fn body_function(&self, name: &Ident, arguments: &[&Argument]) -> TokenStream {
        let (conditions, attributes) = (&self.conditions, &self.body_attributes);
        let Signature {
            fn_token,
            generics,
            output,
            ..
        } = &self.signature;
        let receiver = self.receiver.iter().map(ToTokens::to_token_stream);
        let arguments = arguments
            .iter()
            .map(|one| one.declaration.to_token_stream());
        let inputs = receiver.chain(arguments);
        let (parameters, _, bounds) = generics.split_for_impl();
        let body = &self.body;
        quote! {
            #(#conditions)*
            #(#attributes)*
            async #fn_token #name #parameters (#(#inputs),*) #output #bounds #body
        }
    }

    /// What is declared of `self` and the arguments in a function that is made of this one.
    pub(crate) fn declared(&self) -> Vec<TokenStream> {
        let receiver = self.receiver.iter().map(ToTokens::to_token_stream);
        let arguments = self
            .arguments
            .iter()
            .map(|Argument { name, ty, .. }| quote!(#name: #ty));
        receiver.chain(arguments).collect()
    }

    /// A name made of this function's.
    pub(crate) fn companion(&self, verb: &str) -> Ident {
        format_ident!("{verb}_{}", self.name(), span = self.name().span())
    }
}

/// Where the cache comes from.
pub(crate) struct Cache {
    /// The argument that it is, if it is one.
    pub(crate) argument: Option<Ident>,
    pub(crate) expression: TokenStream,
}

impl Argument {
    fn parse(typed: &PatType) -> Result<Self> {
        let Pat::Ident(PatIdent {
            ident,
            by_ref: None,
            subpat: None,
            ..
        }) = &*typed.pat
        else {
            let message = "an argument goes into the key by its name; take it apart in the body";
            return Err(Error::new(typed.pat.span(), message));
        };
        match &*typed.ty {
            Type::ImplTrait(ty) => {
                let message = "an argument of many types would give all of them the same keys";
                Err(Error::new(ty.span(), message))
            }
            Type::Reference(ty) if ty.mutability.is_some() => {
                let message = "the body runs in a task of its own, with copies of its arguments";
                Err(Error::new(ty.span(), message))
            }
            ty => Ok(Self {
                name: ident.clone(),
                ty: ty.clone(),
                declaration: typed.clone(),
            }),
        }
    }

    /// Whether a task must have a copy of its own. What lives for ever is as good as owned.
    fn is_borrowed(&self) -> bool {
        let Type::Reference(reference) = &self.ty else {
            return false;
        };
        let lifetime = reference.lifetime.as_ref();
        lifetime.is_none_or(|lifetime| lifetime.ident != "static")
    }

    /// How the body is called with a copy of it.
    pub(crate) fn passed_on(&self) -> TokenStream {
        let name = &self.name;
        if self.is_borrowed() {
            quote!(&#name)
        } else {
            quote!(#name)
        }
    }

    /// What makes it something that a task can keep, if it is not.
    pub(crate) fn owned(&self) -> Option<TokenStream> {
        let name = &self.name;
        self.is_borrowed()
            .then(|| quote!(let #name = #name.to_owned();))
    }

    /// Its value, for somebody who takes it, where it is needed once more.
    pub(crate) fn lent(&self) -> TokenStream {
        let name = &self.name;
        if self.is_borrowed() {
            quote!(#name)
        } else {
            quote!(::core::clone::Clone::clone(&#name))
        }
    }
}

impl Outcome {
    fn parse(signature: &Signature) -> Result<Self> {
        let ReturnType::Type(_, ty) = &signature.output else {
            let message = "the function answers nothing that could be kept";
            return Err(Error::new(signature.ident.span(), message));
        };
        if let Type::ImplTrait(ty) = &**ty {
            return Err(Error::new(ty.span(), "name the type: it is kept as bytes"));
        }
        let Some(parameters) = parameters(ty, "Result") else {
            let (value, is_optional) = inside_option(ty);
            return Ok(Self {
                value,
                is_optional,
                error: None,
            });
        };
        let [answer, error] = &parameters[..] else {
            let message = "name the error too, as in `Result<T, E>`";
            return Err(Error::new(ty.span(), message));
        };
        let (value, is_optional) = inside_option(answer);
        Ok(Self {
            value,
            is_optional,
            error: Some(error.clone()),
        })
    }
}

fn check_receiver(receiver: &Receiver) -> Result<()> {
    if matches!(receiver.kind, ReceiverKind::Reference(_, _, None)) {
        return Ok(());
    }
    let message = "the method takes `&self`: its body runs in a task of its own, with a clone";
    Err(Error::new(receiver.span(), message))
}

/// What stands between the angle brackets of a type of this name.
fn parameters(ty: &Type, name: &str) -> Option<Vec<Type>> {
    let Type::Path(TypePath {
        qself: None, path, ..
    }) = ty
    else {
        return None;
    };
    let last = path.segments.last().filter(|last| last.ident == name)?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return Some(Vec::new());
    };
    let types = arguments.args.iter().filter_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty.clone()),
        _ => None,
    });
    Some(types.collect())
}

fn inside_option(ty: &Type) -> (Type, bool) {
    match parameters(ty, "Option").as_deref() {
        Some([inside]) => (inside.clone(), true),
        _ => (ty.clone(), false),
    }
}

/// Whether the name occurs in the code.
pub(crate) fn mentions(code: &TokenStream, name: &Ident) -> bool {
    // What follows a single dot is a field or a method: `page.id` does not speak of `id`.
    let (mut is_after_dot, mut is_member) = (false, false);
    code.clone().into_iter().any(|token| {
        let is_dot = matches!(&token, TokenTree::Punct(punct) if punct.as_char() == '.');
        (is_member, is_after_dot) = (is_after_dot && !is_dot, is_dot && !is_after_dot);
        match token {
            TokenTree::Ident(ident) => !is_member && ident == *name,
            TokenTree::Group(group) => mentions(&group.stream(), name),
            TokenTree::Punct(_) | TokenTree::Literal(_) => false,
        }
    })
}
