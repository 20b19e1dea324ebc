//! Derive of `ToDevice`: moves every field that is not skipped, in field order.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Error, Field, Fields, Result, Variant, WherePredicate, parse_quote};

/// The implementation of `ToDevice` for `input`, for every device to which all fields can be moved,
/// or a compile error.
pub(crate) fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let mut moved = Vec::new();
    let name = &input.ident;
    let arms = match &input.data {
        Data::Struct(data) => vec![arm(&quote!(#name), &data.fields, &mut moved)?],
        Data::Enum(data) => {
            let arms = data
                .variants
                .iter()
                .map(|Variant { ident, fields, .. }| arm(&quote!(#name::#ident), fields, &mut moved));
            arms.collect::<Result<_>>()?
        }
        Data::Union(_) => {
            let text = "`ToDevice` can be derived for structs and enums, not for unions";
            return Err(Error::new_spanned(name, text));
        }
    };

    let mut generics = input.generics.clone();
    generics.params.push(parse_quote!(__Device));
    let bounds = moved.iter().map(|field| -> WherePredicate {
        let ty = &field.ty;
        // The span of the type, at which the compiler reports that it cannot be moved.
        let bound = quote_spanned!(ty.span() => #ty: ::regimen::engine::ToDevice<__Device>);
        parse_quote!(#bound)
    });
    generics.make_where_clause().predicates.extend(bounds);
    let (impl_generics, _, where_clause) = generics.split_for_impl();
    let (_, type_generics, _) = input.generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #impl_generics ::regimen::engine::ToDevice<__Device> for #name #type_generics #where_clause {
            #[allow(unused_variables)]
            fn move_to(
                self,
                device: &__Device,
            ) -> ::core::result::Result<Self, ::regimen::BoxError> {
                match self { #(#arms)* }
            }
        }
    })
}

/// The match arm that takes a value of the struct or variant at `path` apart and rebuilds it. The
/// moved fields are appended to `moved`.
fn arm<'a>(path: &TokenStream, fields: &'a Fields, moved: &mut Vec<&'a Field>) -> Result<TokenStream> {
    let (mut takes, mut gives) = (Vec::new(), Vec::new());
    for (i, (field, member)) in fields.iter().zip(fields.members()).enumerate() {
        // Hygienic names, which no user constant can shadow.
        let part = format_ident!("part_{i}", span = Span::mixed_site());
        takes.push(quote!(#member: #part));
        if is_skipped(field)? {
            gives.push(quote!(#member: #part));
        } else {
            moved.push(field);
            gives.push(quote!(#member: ::regimen::engine::ToDevice::move_to(#part, device)?));
        }
    }
    Ok(quote!(#path { #(#takes),* } => ::core::result::Result::Ok(#path { #(#gives),* }),))
}

/// Returns `true` if the field is marked `#[to_device(skip)]`.
fn is_skipped(field: &Field) -> Result<bool> {
    let mut skipped = false;
    for attribute in field.attrs.iter().filter(|attribute| attribute.path().is_ident("to_device")) {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("skip") {
                return Err(meta.error("expected `skip`"));
            }
            skipped = true;
            Ok(())
        })?;
    }
    Ok(skipped)
}
