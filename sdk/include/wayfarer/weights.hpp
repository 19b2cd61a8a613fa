// A checkpoint's tensors under the names that all architectures share: "blocks.3.attn.W_Q".
//
// A model plugin states, before any file is opened, which tensors its checkpoint must hold (`store`) and what each common name is
// of them (`name`). `look` reads the headers, `load` maps the file as well; both check type and shape of what is there. The file
// decides what the model is: names may stand behind the prefixes that wrappers put there, a tensor may go by another name, and
// `remarks` reports unused tensors. The checkpoint may be incomplete: existing weights can be read, and
// `require_all` says what a forward pass would lack, and what the file has instead. Views, never copies. Immutable once loaded;
// any thread.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <wayfarer/export.hpp>
#include <wayfarer/layout.hpp>
#include <wayfarer/safetensors.hpp>
#include <wayfarer/tensor.hpp>

namespace wayfarer {

struct model;

class WAYFARER_API weight_table {
 public:
  using make_view = std::function<tensor(tensor const& stored)>;

  /// The checkpoint holds `name` with this shape. `optional`: a forward pass does without it.
  void store(std::string name, dims shape, bool optional = false);
  /// Another name under which checkpoints hold a tensor that was stored: used where the first is missing. A checkpoint that has
  /// both must have the same numbers in them.
  void also(std::string_view name, std::string other);
  /// Where the checkpoint lacks `name`, the tensor that was stored as `other` serves: a head that is tied to the embedding.
  void otherwise(std::string_view name, std::string other);
  /// The common name, and how it is seen in a stored tensor; without `view`, as it is.
  void name(std::string common, std::string stored, make_view view = {});
  /// A common name for what this architecture leaves out: zeros of this shape.
  void zeros(std::string common, dims shape);

  /// In the order in which they were given.
  std::vector<std::string> const& names() const noexcept { return order_; }

  /// Reads the headers of a checkpoint's files and no weight. A tensor may have any nesting of the usual wrappers in front of its
  /// name ("_orig_mod.", "module.", "model.", "transformer.", "bert.", ...); where that makes one name of several, the prefix
  /// that most tensors have counts. Throws data_error, naming file and tensor, for a needed tensor of the wrong shape or of a
  /// type that is no number.
  void look(std::string const& path);
  /// The same, and maps the files. Throws data_error too where two names of one tensor hold different numbers.
  void load(std::string const& path);
  /// The same for tensors in memory, as a model in training has them, under the names that were stored. `what` is for messages.
  void load(std::string const& what, std::map<std::string, tensor> const& tensors);
  bool loaded() const noexcept { return loaded_; }
  bool looked() const noexcept { return looked_; }
  /// Whether the checkpoint itself has this stored tensor, under one of its names. Known once it was looked at.
  bool found(std::string_view name) const;
  /// Whether two stored tensors that were loaded have the same shape, type and bytes.
  bool same(std::string_view one, std::string_view other) const;
  /// What stands in front of the names in the checkpoint: "", "transformer.", "_orig_mod.bert.".
  std::vector<std::string> prefixes() const;
  /// What a user should know of the checkpoint, one sentence each: tensors that nothing reads, unless they are known to say
  /// nothing that counts (masks, position numbers, poolers).
  std::vector<std::string> remarks() const;

  /// The view of a common name. data_error if the checkpoint lacks it, usage_error with near names if there is no such weight.
  tensor weight(std::string_view common) const;
  /// A stored tensor as it is; undefined if it is optional and missing. Throws data_error as `require_all` if it is needed.
  tensor stored(std::string_view name) const;
  /// Stored tensors that a forward pass needs and the checkpoint lacks.
  std::vector<std::string> missing() const;
  /// Throws data_error that lists exactly what is missing, if anything is.
  void require_all() const;
  /// The same for those of them that are `needed`: a run that stops early, or an encoder without its decoder, does with fewer.
  void require(std::function<bool(std::string_view stored)> const& needed) const;
  /// The same of a checkpoint that was looked at and need not be loaded.
  void require_found(std::function<bool(std::string_view stored)> const& needed) const;

 private:
  template <class>
  friend struct layout_of;
  struct place {
    dims shape;
    bool optional = false;
    tensor data{};
    std::vector<std::string> others{};
    std::string otherwise{};
    std::string file_name{};           ///< in the checkpoint; "" if it is not there
    std::vector<std::string> twins{};  ///< its other names that are there as well
  };
  struct alias {
    std::string stored;
    make_view view;
    dims zeros;
  };
  static void check(std::string const& where, dtype type, std::vector<std::size_t> const& shape, place const&);
  void look(checkpoint const&);
  tensor const& data_of(place const&) const;
  bool has(place const&) const;
  std::string what_is_there(std::vector<std::string> const& gone) const;
  std::string path_;
  std::vector<std::string> file_names_, unread_, prefixes_;  ///< of the checkpoint that was looked at
  std::vector<std::string> order_, stored_order_;
  std::map<std::string, place, std::less<>> stored_;
  std::map<std::string, alias, std::less<>> common_;
  bool loaded_ = false, looked_ = false;
};

/// Columns [first, first + heads * d_head) of a matrix [in, out], seen as one matrix a head: [head, d_model, d_head]. With
/// `rows_first` false the tensor is [out, in], as torch's Linear stores it. A vector gives [head, d_head].
WAYFARER_API tensor split_heads(tensor const& stored, std::size_t first, std::size_t heads, std::size_t d_head,
                                bool in_first = true);
/// A matrix [head * d_head, d_model] (`in_first`) or its transpose, seen as [head, d_head, d_model].
WAYFARER_API tensor join_heads(tensor const& stored, std::size_t heads, bool in_first = true);

/// The weights of a model that hold infinities or NaN, and how many. Reads every weight.
struct non_finite_weight {
  std::string name;
  std::size_t count = 0;
};
WAYFARER_API std::vector<non_finite_weight> non_finite_weights(model const&);

WAYFARER_INNER_LAYOUT(weight_table, 1, place, shape, optional, data, others, otherwise, file_name, twins);
WAYFARER_INNER_LAYOUT(weight_table, 2, alias, stored, view, zeros);
WAYFARER_LAYOUT(weight_table, path_, file_names_, unread_, prefixes_, order_, stored_order_, stored_, common_, loaded_, looked_);
WAYFARER_LAYOUT(non_finite_weight, name, count);

}  // namespace wayfarer
