//! What a subscription may be about.

use live::Products;
use metrics::counter;
use tonic::Status;

use super::{Caller, status};
use crate::{grpc::status::invalid, metrics as names};

/// `products` within what `caller` may see: `*` becomes what it may, and what it may not is refused by name. At most `max`, or
/// fewer where its quota says so; with such a quota, who may see every product has to name those that it wants.
pub(crate) fn narrowed(products: Products, caller: &Caller, max: usize) -> Result<Products, Status> {
    if let (Products::All, None, Some(quota)) = (&products, caller.only(), caller.products_quota()) {
        counter!(names::QUOTA_REFUSED, "quota" => "products").increment(1);
        return Err(invalid(
            "products",
            format!("name them: the key or token allows {quota} in one subscription"),
        ));
    }
    let products = match (products, caller.only()) {
        (products, None) => products,
        (Products::All, Some(only)) => Products::These(only.iter().cloned().collect()),
        (Products::These(these), Some(_)) => {
            if let Some(other) = these.iter().find(|instrument| !caller.allows(instrument)) {
                return Err(status::product_not_allowed(other));
            }
            Products::These(these)
        }
    };
    let max = caller.products_max(max);
    if matches!(&products, Products::These(these) if these.len() > max) {
        counter!(names::QUOTA_REFUSED, "quota" => "products").increment(1);
        return Err(invalid("products", format!("more than {max} products in one subscription")));
    }
    Ok(products)
}
