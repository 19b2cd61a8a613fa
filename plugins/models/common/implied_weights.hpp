// What a model without attention weighs earlier positions by: the matrices that its recurrence amounts to, so that what reads an
// attention pattern can read them. Made only on request; of the order of an attention pattern in time and memory.
//
// Free functions; any thread, though not for the same objects.
#pragma once

#include <cstddef>
#include <functional>
#include <string_view>

#include <wayfarer/rows.hpp>
#include <wayfarer/taps.hpp>

namespace wayfarer {

/// Fills the weights of one query: out[key * channels + channel] for keys 0..query of its item. Asked for queries 0, 1, ... in
/// turn.
template <class T>
using channel_weights = std::function<void(std::size_t query, T* out)>;

/// Taps `hook`: the mean over each head's channels of each query's weights. `y` is what the recurrence gave, the weighted sum of
/// `v` in each channel. Where an edit changes a mean, the weights of all the head's channels are multiplied by what it multiplied
/// it by (where it was 0, the edit's number is added to them), and y of that query is summed anew. `of_item` makes the weights of
/// one item.
template <class T>
rows through_mean_weights(rows y, rows const& v, std::size_t heads,
                          std::function<channel_weights<T>(std::size_t item)> const& of_item, std::string_view hook,
                          tap_scope const& at);

/// Fills the weights of one query and head over keys 0..query.
template <class T>
using head_weights = std::function<void(std::size_t item, std::size_t head, std::size_t query, T* out)>;

/// Taps `hook`: each head's weights. Where an edit changes a query's, its y is summed anew.
template <class T>
rows through_head_weights(rows y, rows const& v, std::size_t heads, head_weights<T> const&, std::string_view hook,
                          tap_scope const& at);

extern template rows through_mean_weights(rows, rows const&, std::size_t,
                                          std::function<channel_weights<float>(std::size_t)> const&, std::string_view,
                                          tap_scope const&);
extern template rows through_mean_weights(rows, rows const&, std::size_t,
                                          std::function<channel_weights<double>(std::size_t)> const&, std::string_view,
                                          tap_scope const&);
extern template rows through_head_weights(rows, rows const&, std::size_t, head_weights<float> const&, std::string_view,
                                          tap_scope const&);
extern template rows through_head_weights(rows, rows const&, std::size_t, head_weights<double> const&, std::string_view,
                                          tap_scope const&);

}  // namespace wayfarer
