// Weights that products keep in the order in which they read them.
//
// A product of more than a few rows first packs its weights; of some ten rows that takes as long as the product. A model whose
// weights never change says so once, and all its passes share what is packed. Free functions; any thread.
#pragma once

#include <memory>

#include <wayfarer/export.hpp>
#include <wayfarer/layers.hpp>

namespace wayfarer {

/// While the handle lives, float32 products by these weights keep them packed, in their stored type: of some ten to a hundred
/// rows from the second on, of fewer rows from the tenth. A model that is only looked into, or passed once, keeps nothing.
/// Numbers keep their bytes. All that a process keeps takes at most a quarter of the memory that it may use; beyond that, weights
/// are packed anew. The weights must not change meanwhile. Null for weights that are undefined.
WAYFARER_API std::shared_ptr<void const> keep_packed(linear_weights const&);

}  // namespace wayfarer
