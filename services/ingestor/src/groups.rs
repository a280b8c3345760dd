//! Which connection carries which product.

use std::collections::{HashMap, HashSet};

use domain::Product;

/// Products in groups of bounded size. A product never moves: what was read of it on one connection must not be overtaken by
/// another, and the others are not to notice a change. One that comes back goes where it was.
#[derive(Debug)]
pub(crate) struct Groups {
    size_max: usize,
    homes: HashMap<Product, usize>,
    groups: Vec<Vec<Product>>,
}

impl Groups {
    pub(crate) fn new(size_max: usize) -> Self {
        Self { size_max: size_max.max(1), homes: HashMap::new(), groups: Vec::new() }
    }

    /// The groups for these products; some may be empty, none ever goes away.
    pub(crate) fn assign(&mut self, wanted: &[Product]) -> &[Vec<Product>] {
        let stays: HashSet<&Product> = wanted.iter().collect();
        for group in &mut self.groups {
            group.retain(|product| stays.contains(product));
        }
        let here: HashSet<Product> = self.groups.iter().flatten().cloned().collect();
        for product in wanted.iter().filter(|product| !here.contains(product)) {
            let home = self.home_of(product);
            if let Some(group) = self.groups.get_mut(home) {
                group.push(product.clone());
                self.homes.insert(product.clone(), home);
            }
        }
        &self.groups
    }

    fn home_of(&mut self, product: &Product) -> usize {
        let has_room = |group: &Vec<Product>| group.len() < self.size_max;
        let home = self.homes.get(product).copied();
        if let Some(home) = home.filter(|home| self.groups.get(*home).is_some_and(has_room)) {
            return home;
        }
        self.groups.iter().position(has_room).unwrap_or_else(|| {
            self.groups.push(Vec::new());
            self.groups.len() - 1
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn products(names: &str) -> Vec<Product> {
        names.split(' ').filter(|name| !name.is_empty()).map(|name| Product::new(name).unwrap()).collect()
    }

    fn shown(groups: &[Vec<Product>]) -> Vec<String> {
        let joined = |group: &Vec<Product>| group.iter().map(Product::as_str).collect::<Vec<_>>().join(" ");
        groups.iter().map(joined).collect()
    }

    #[test]
    fn products_fill_connections_and_never_move() {
        let mut groups = Groups::new(2);
        assert_eq!(shown(groups.assign(&products("A B C D E"))), ["A B", "C D", "E"]);
        assert_eq!(shown(groups.assign(&products("A C D E"))), ["A", "C D", "E"]);
        assert_eq!(shown(groups.assign(&products("A C D E F"))), ["A F", "C D", "E"]);
        assert_eq!(shown(groups.assign(&products("C F"))), ["F", "C", ""]);
        assert_eq!(
            shown(groups.assign(&products("C F E B G H"))),
            ["F B", "C G", "E H"],
            "E and B went home"
        );
        assert_eq!(shown(groups.assign(&[])), ["", "", ""]);
    }

    #[test]
    fn four_hundred_products_make_four_connections() {
        let names: Vec<String> = (0..400).map(|number| format!("P{number}-USD")).collect();
        let mut groups = Groups::new(100);
        assert!(groups.assign(&products(&names.join(" "))).iter().all(|group| group.len() == 100));
        assert_eq!(groups.groups.len(), 4);
    }
}
