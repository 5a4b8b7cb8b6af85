// The kernels as XLA's custom calls on the CPU. What a call may ask for is checked here.
#include "xla/ffi/api/ffi.h"

#include <atomic>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "kernels.h"

namespace resnet_jax {
namespace {

namespace ffi = xla::ffi;

using Sizes = std::vector<int64_t>;

// Runs work items on the calling thread and on threads of XLA's own pool.
Parallel on(ffi::ThreadPool pool) {
  return [pool](int64_t n, const std::function<void(int64_t)>& body) mutable {
    struct State {
      std::atomic<int64_t> next{0}, done{0};
      std::atomic<bool> failed{false};
    };
    const auto state = std::make_shared<State>();
    // A helper may come when all is over and `body` is gone: it then finds no item to begin.
    const std::function<void()> work = [state, n, &body] {
      for (int64_t item; (item = state->next++) < n; state->done++) {
        try {
          body(item);
        } catch (const std::bad_alloc&) {
          state->failed = true;
        }
      }
    };
    for (int64_t i = 1; i < std::min(pool.num_threads(), n); i++) {
      pool.Schedule(std::function<void()>(work));
    }
    work();
    // All items have begun, so that whatever is waited for is being computed: nothing can lock up.
    for (int64_t spins = 0; state->done < n; spins++) {
      if (spins > 1000) std::this_thread::yield();
    }
    if (state->failed) throw std::bad_alloc();
  };
}

// ---- Checks

void check(bool condition, const std::string& message) {
  if (!condition) throw std::invalid_argument(message);
}

std::string text(const Sizes& sizes) {
  std::string list;
  for (int64_t size : sizes) list += (list.empty() ? "" : ", ") + std::to_string(size);
  return "[" + list + "]";
}

// The arrays of a call: operands, and behind them results, of which none may share its memory with
// another array, since operands are still read when results are being written.
class Arrays {
 public:
  Arrays(const ffi::RemainingArgs& operands, const ffi::RemainingRets& results)
      : operands(operands.size()) {
    for (size_t i = 0; i < operands.size(); i++) add(*operands.get<ffi::AnyBuffer>(i));
    for (size_t i = 0; i < results.size(); i++) add(**results.get<ffi::AnyBuffer>(i));
  }

  const Sizes& sizes(size_t i) const {
    check(i < arrays_.size(), "array " + std::to_string(i) + " is missing");
    return arrays_[i].sizes;
  }
  float* get(size_t i, const std::string& name, const Sizes& expected) const {
    check(sizes(i) == expected, name + " is " + text(sizes(i)) + ", expected " + text(expected));
    return arrays_[i].begin;
  }
  // [batch, height, width, channels], in whole vectors of channels.
  const Sizes& images(size_t i) const {
    const Sizes& size = sizes(i);
    check(size.size() == 4 && size[0] * size[1] * size[2] > 0 && whole_vectors(size[3]),
          text(size) + " is not served: images that are not empty, with a multiple of " +
              std::to_string(kLanes) + " channels");
    return size;
  }
  bool has(size_t i) const { return i < arrays_.size(); }

  const size_t operands;  // how many

 private:
  struct Array {
    Sizes sizes;
    float *begin, *end;
  };

  void add(const ffi::AnyBuffer& buffer) {
    check(buffer.element_type() == ffi::F32, "an array is not of type float32");
    float* begin = static_cast<float*>(buffer.untyped_data());
    const auto sizes = buffer.dimensions();
    const Array array = {Sizes(sizes.begin(), sizes.end()), begin, begin + buffer.element_count()};
    for (const Array& other : arrays_) {
      check(arrays_.size() < operands || array.end <= other.begin || other.end <= array.begin,
            "a result shares its memory with another array");
    }
    arrays_.push_back(array);
  }

  std::vector<Array> arrays_;
};

ConvShape conv_shape(const Sizes& x, const Sizes& kernel, const Sizes& y, int64_t stride) {
  const std::string all = text(x) + " with a kernel " + text(kernel) + " to " + text(y) +
                          " at stride " + std::to_string(stride) + " is not served: ";
  check(x.size() == 4 && kernel.size() == 4 && y.size() == 4, all + "all have 4 dimensions");
  const ConvShape shape = {x[0], x[1], x[2], x[3], kernel[3], stride};
  check(served(shape), all + "strides are 1 and 2, sizes even at stride 2, output channels a " +
                           "multiple of " + std::to_string(kLanes));
  check(kernel == Sizes{3, 3, x[3], kernel[3]}, all + "kernels are [3, 3, in, out]");
  check(y == Sizes{x[0], shape.out_height(), shape.out_width(), kernel[3]},
        all + "the output is [batch, height / stride, width / stride, out]");
  return shape;
}

// The gradient dy of an output: the operand `first`, or formed of y, out, dout and coef, of which
// that is the first.
Source gradient(const Arrays& arrays, size_t first, bool relu) {
  const Sizes& size = arrays.images(first);
  const float* values = arrays.get(first, "dy", size);
  if (arrays.operands == first + 1) return {values, size[3]};
  check(arrays.operands == first + 4, "expected dy, or y, out, dout and coef");
  return {arrays.get(first + 2, "dout", size), size[3], values, arrays.get(first + 1, "out", size),
          arrays.get(first + 3, "coef", {3, size[3]}), relu};
}

// ---- Calls: operands -> results

// x, kernel -> y, sums
void Conv(const Parallel& parallel, const Arrays& arrays, int64_t stride, bool) {
  const Sizes &x = arrays.sizes(0), &kernel = arrays.sizes(1), &y = arrays.sizes(2);
  const ConvShape shape = conv_shape(x, kernel, y, stride);
  conv(parallel, shape, arrays.get(0, "x", x), arrays.get(1, "kernel", kernel),
       arrays.get(2, "y", y), arrays.get(3, "sums", {2, shape.out_channels}));
}

// kernel, dy -> dx
void InputGradient(const Parallel& parallel, const Arrays& arrays, int64_t stride, bool relu) {
  const Source dy = gradient(arrays, 1, relu);
  const Sizes &kernel = arrays.sizes(0), &dx = arrays.images(arrays.operands);
  const ConvShape shape = conv_shape(dx, kernel, arrays.sizes(1), stride);
  conv_input_gradient(parallel, shape, dy, arrays.get(0, "kernel", kernel),
                      arrays.get(arrays.operands, "dx", dx));
}

// x, dy -> dkernel
void FilterGradient(const Parallel& parallel, const Arrays& arrays, int64_t stride, bool relu) {
  const Source dy = gradient(arrays, 1, relu);
  const Sizes &x = arrays.sizes(0), &dkernel = arrays.sizes(arrays.operands);
  const ConvShape shape = conv_shape(x, dkernel, arrays.sizes(1), stride);
  conv_filter_gradient(parallel, shape, arrays.get(0, "x", x), dy,
                       arrays.get(arrays.operands, "dkernel", dkernel));
}

// y, coef [, residual] -> out
void NormAct(const Parallel& parallel, const Arrays& arrays, int64_t, bool relu) {
  const Sizes& y = arrays.images(0);
  const float* residual = arrays.operands > 2 ? arrays.get(2, "residual", y) : nullptr;
  norm_act(parallel, y[0] * y[1] * y[2], y[3], arrays.get(0, "y", y),
           arrays.get(1, "coef", {2, y[3]}), residual, relu,
           arrays.get(arrays.operands, "out", y));
}

// y -> sums of y and of y * y; y, out, dout -> sums of dz and of dz * y [, dz]
void Reduce(const Parallel& parallel, const Arrays& arrays, int64_t, bool relu) {
  const Sizes& y = arrays.images(0);
  const size_t n = arrays.operands;
  check(n == 1 || n == 3, "expected y, or y, out and dout");
  const Source dz = {arrays.get(n - 1, "dout", y), y[3], arrays.get(0, "y", y),
                     arrays.get(n / 2, "out", y), nullptr, relu};
  float* stored = arrays.has(n + 1) ? arrays.get(n + 1, "dz", y) : nullptr;
  reduce(parallel, y[0] * y[1] * y[2], dz, arrays.get(n, "sums", {2, y[3]}), stored);
}

// What goes wrong becomes XLA's error.
template <auto body>
ffi::Error guarded(ffi::ThreadPool pool, int64_t stride, bool relu, ffi::RemainingArgs operands,
                   ffi::RemainingRets results) {
  try {
    body(on(pool), Arrays(operands, results), stride, relu);
  } catch (const std::invalid_argument& error) {
    return ffi::Error::InvalidArgument(error.what());
  } catch (const std::exception& error) {
    return ffi::Error(ffi::ErrorCode::kResourceExhausted, error.what());
  }
  return ffi::Error::Success();
}

auto binding() {
  auto bound = ffi::Ffi::Bind().Ctx<ffi::ThreadPool>().Attr<int64_t>("stride").Attr<bool>("relu");
  return std::move(bound).RemainingArgs().RemainingRets();
}

}  // namespace
}  // namespace resnet_jax

using namespace resnet_jax;

XLA_FFI_DEFINE_HANDLER_SYMBOL(resnet_conv, guarded<Conv>, binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(resnet_conv_input_gradient, guarded<InputGradient>, binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(resnet_conv_filter_gradient, guarded<FilterGradient>, binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(resnet_norm_act, guarded<NormAct>, binding());
XLA_FFI_DEFINE_HANDLER_SYMBOL(resnet_reduce, guarded<Reduce>, binding());

extern "C" int resnet_vector_length() { return kLanes; }

// A convolution on the calling thread, for the check that follows a build; `sizes` as `ConvShape`.
extern "C" void resnet_check_conv(const int64_t* sizes, const float* x, const float* kernel,
                                  float* y, float* sums) {
  const ConvShape shape = {sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5]};
  const auto serial = [](int64_t n, const std::function<void(int64_t)>& body) {
    for (int64_t item = 0; item < n; item++) body(item);
  };
  if (served(shape)) conv(serial, shape, x, kernel, y, sums);
}
