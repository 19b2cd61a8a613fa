// Parts of a model as its checkpoint has them. What is missing stays undefined, and a pass requires what it reaches: so a
// checkpoint without a head, or without a decoder, still serves for the rest.
//
// Used by `load`, by one thread.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include <wayfarer/layers.hpp>
#include <wayfarer/packing.hpp>
#include <wayfarer/tensor.hpp>
#include <wayfarer/weights.hpp>

namespace wayfarer {

class stored_parts {
 public:
  /// `kept`: while it lives, passes share the packed weights of the layers. Both must outlive this object; `from` is loaded.
  stored_parts(weight_table const& from, std::vector<std::shared_ptr<void const>>& kept) : from_(from), kept_(kept) {
    for (auto& name : from.missing()) missing_.insert(std::move(name));
  }

  bool missing(std::string_view name) const { return missing_.contains(name); }
  tensor at(std::string const& name) const { return missing(name) ? tensor() : from_.stored(name); }
  /// A matrix as torch's Linear keeps it, "NAME.weight", with "NAME.bias".
  linear_weights linear(std::string const& name) const { return keep({at(name + ".weight"), at(name + ".bias"), false}); }
  linear_weights linear_without_bias(std::string const& name) const { return keep({at(name + ".weight"), {}, false}); }
  norm_weights norm(std::string const& name, double epsilon) const { return {at(name + ".weight"), at(name + ".bias"), epsilon}; }
  /// The layer, with its packed weights kept.
  linear_weights keep(linear_weights layer) const {
    kept_.push_back(keep_packed(layer));
    return layer;
  }

 private:
  weight_table const& from_;
  std::vector<std::shared_ptr<void const>>& kept_;
  std::set<std::string, std::less<>> missing_;
};

}  // namespace wayfarer
