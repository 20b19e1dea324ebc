//! Derive of `AppState`: one call of `Parts::part` per field that is not skipped.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{
    Data, DeriveInput, Error, Field, Fields, LitStr, Member, Path, Result, WherePredicate, parse_quote,
};

/// The implementation of `AppState` for `input`, or a compile error.
pub(crate) fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let Data::Struct(data) = &input.data else {
        let text = "`AppState` can be derived for structs; implement it by hand for enums and unions";
        return Err(Error::new_spanned(&input.ident, text));
    };
    let parts = parts(&data.fields)?;

    let calls = parts.iter().map(|Part { field, member, name, saved }| match saved {
        Saved::With(with) => {
            quote_spanned! { with.span() => parts.part(#name, &mut #with(&mut self.#member))?; }
        }
        // The span is that of the type, where the compiler then says which trait it lacks.
        Saved::Itself => quote_spanned! { field.ty.span() => parts.part(#name, &mut self.#member)?; },
        Saved::Nested => quote_spanned! { field.ty.span() => parts.nested(#name, &mut self.#member)?; },
    });
    let mut generics = input.generics.clone();
    if generics.type_params().next().is_some() {
        let bounds = parts.iter().filter_map(|Part { field, saved, .. }| -> Option<WherePredicate> {
            let ty = &field.ty;
            match saved {
                Saved::Itself => Some(parse_quote!(#ty: ::regimen::saved::Stateful)),
                Saved::Nested => Some(parse_quote!(#ty: ::regimen::saved::AppState)),
                Saved::With(_) => None,
            }
        });
        generics.make_where_clause().predicates.extend(bounds);
    }
    let name = &input.ident;
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #impl_generics ::regimen::saved::AppState for #name #type_generics #where_clause {
            fn visit(
                &mut self,
                parts: &mut dyn ::regimen::saved::Parts,
            ) -> ::core::result::Result<(), ::regimen::BoxError> {
                #(#calls)*
                ::core::result::Result::Ok(())
            }
        }
    })
}

struct Part<'a> {
    field: &'a Field,
    member: Member,
    name: String,
    saved: Saved,
}

/// How a field is saved.
enum Saved {
    /// As one part.
    Itself,
    /// As one part, through a wrapper.
    With(Path),
    /// As several parts, which it lists itself.
    Nested,
}

fn parts(fields: &Fields) -> Result<Vec<Part<'_>>> {
    let mut parts: Vec<Part<'_>> = Vec::new();
    for (field, member) in fields.iter().zip(fields.members()) {
        let settings = Settings::of(field)?;
        if settings.skip {
            continue;
        }
        let own = match &member {
            Member::Named(ident) => LitStr::new(&ident.unraw().to_string(), ident.span()),
            Member::Unnamed(index) => LitStr::new(&index.index.to_string(), field.span()),
        };
        let name = settings.rename.unwrap_or(own);
        check_name(&name)?;
        if parts.iter().any(|part| part.name == name.value()) {
            return Err(Error::new(name.span(), format!("two parts are named `{}`", name.value())));
        }
        let saved = match settings.with {
            Some(with) => Saved::With(with),
            None if settings.nested => Saved::Nested,
            None => Saved::Itself,
        };
        parts.push(Part { field, member, name: name.value(), saved });
    }
    Ok(parts)
}

/// The options in `#[app_state(...)]` on a field.
#[derive(Default)]
struct Settings {
    skip: bool,
    nested: bool,
    rename: Option<LitStr>,
    with: Option<Path>,
}

impl Settings {
    fn of(field: &Field) -> Result<Self> {
        let mut settings = Settings::default();
        for attribute in field.attrs.iter().filter(|attribute| attribute.path().is_ident("app_state")) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("skip") {
                    settings.skip = true;
                } else if meta.path.is_ident("nested") {
                    settings.nested = true;
                } else if meta.path.is_ident("rename") {
                    settings.rename = Some(meta.value()?.parse()?);
                } else if meta.path.is_ident("with") {
                    settings.with = Some(meta.value()?.parse()?);
                } else {
                    return Err(
                        meta.error("expected `skip`, `nested`, `rename = \"name\"` or `with = wrapper`")
                    );
                }
                Ok(())
            })?;
        }
        match &settings {
            Settings { skip: true, rename: Some(name), .. } => {
                Err(Error::new(name.span(), "a skipped field takes no `rename`"))
            }
            Settings { skip: true, with: Some(with), .. } => {
                Err(Error::new(with.span(), "a skipped field takes no `with`"))
            }
            Settings { skip: true, nested: true, .. } => {
                Err(Error::new_spanned(&field.ty, "a skipped field has no parts"))
            }
            Settings { nested: true, with: Some(with), .. } => Err(Error::new(
                with.span(),
                "a field is saved through a wrapper or as its own parts, not both",
            )),
            _ => Ok(settings),
        }
    }
}

/// Rejects part names that a checkpoint would reject, as a part's name becomes a file name.
fn check_name(name: &LitStr) -> Result<()> {
    let text = name.value();
    let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte));
    if text == "run" {
        return Err(Error::new(name.span(), "the part name `run` is reserved; rename this part"));
    }
    if !plain || text.is_empty() || text.starts_with('.') || 200 < text.len() {
        let may = "at most 200 letters, digits, `_`, `-` and `.`, and no `.` at the beginning";
        return Err(Error::new(
            name.span(),
            format!("the part {text:?} cannot be the name of a file: {may}"),
        ));
    }
    Ok(())
}
