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

using Images = ffi::Buffer<ffi::F32, 4>;  // [batch, height, width, channels]
using Kernel = ffi::Buffer<ffi::F32, 4>;  // [3, 3, in, out]
using Rows = ffi::Buffer<ffi::F32, 2>;    // [2 or 3, channels]: coefficients or sums
template <class Buffer>
using Result = ffi::Result<Buffer>;
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
#if defined(__x86_64__)
      __builtin_ia32_pause();
#endif
      if (spins > 1000) std::this_thread::yield();
    }
    if (state->failed) throw std::bad_alloc();
  };
}

// Runs a call and turns what goes wrong into XLA's errors.
template <class Body>
ffi::Error guarded(const Body& body) {
  try {
    body();
  } catch (const std::invalid_argument& error) {
    return ffi::Error::InvalidArgument(error.what());
  } catch (const std::exception& error) {
    return ffi::Error(ffi::ErrorCode::kResourceExhausted, error.what());
  }
  return ffi::Error::Success();
}

// ---- Checks

std::string text(const Sizes& sizes) {
  std::string list;
  for (int64_t size : sizes) list += (list.empty() ? "" : ", ") + std::to_string(size);
  return "[" + list + "]";
}

template <class Buffer>
Sizes sizes(const Buffer& buffer) {
  return Sizes(buffer.dimensions().begin(), buffer.dimensions().end());
}

void check(bool condition, const std::string& message) {
  if (!condition) throw std::invalid_argument(message);
}

template <class Buffer>
void check_sizes(const std::string& name, const Buffer& buffer, const Sizes& expected) {
  const Sizes found = sizes(buffer);
  check(found == expected, name + " is " + text(found) + ", expected " + text(expected));
}

// Operands are still read when results are being written.
template <class Written, class... Buffers>
void check_apart(const Written& written, const Buffers&... others) {
  const auto begin = [](const auto& buffer) { return static_cast<char*>(buffer.untyped_data()); };
  const auto end = [&](const auto& buffer) { return begin(buffer) + buffer.size_bytes(); };
  check(((end(written) <= begin(others) || end(others) <= begin(written)) && ...),
        "a result shares its memory with another array");
}

template <class Written>
void check_apart(const Written& written, const ffi::RemainingArgs& more) {
  for (size_t i = 0; i < more.size(); i++) check_apart(written, *more.get<ffi::AnyBuffer>(i));
}

// One of the operands or results that may be absent.
template <class Buffer, class More>
auto optional(const More& more, size_t i) {
  const auto buffer = more.template get<Buffer>(i);
  if (!buffer.has_value()) throw std::invalid_argument(buffer.error().message());
  return *buffer;
}

// The channels of images, which the kernels between convolutions read in whole vectors.
int64_t channels(const Images& images) {
  const int64_t count = images.dimensions()[3];
  check(whole_vectors(count), std::to_string(count) + " channels, expected a multiple of " +
                                  std::to_string(kLanes));
  return count;
}

int64_t pixels(const Images& images) {
  const Sizes size = sizes(images);
  check(size[0] * size[1] * size[2] > 0, text(size) + " has no pixels");
  return size[0] * size[1] * size[2];
}

ConvShape conv_shape(const Images& x, const Kernel& kernel, const Images& y, int64_t stride) {
  const Sizes in = sizes(x), filter = sizes(kernel);
  check_sizes("the kernel", kernel, {3, 3, in[3], filter[3]});
  const ConvShape shape = {in[0], in[1], in[2], in[3], filter[3], stride};
  check(served(shape), text(in) + " with a kernel " + text(filter) + " at stride " +
                           std::to_string(stride) + " is not served: strides are 1 and 2, sizes " +
                           "even at stride 2, output channels a multiple of " +
                           std::to_string(kLanes));
  check_sizes("the output", y, {in[0], shape.out_height(), shape.out_width(), filter[3]});
  return shape;
}

// The source of dz, or with `coef` of dy, of a normalisation of y.
Source formed(const Images& y, const Images& out, const Images& dout, const float* coef,
              bool relu) {
  check_sizes("out", out, sizes(y));
  check_sizes("dout", dout, sizes(y));
  return {dout.typed_data(), channels(y), y.typed_data(), out.typed_data(), coef, relu};
}

// The gradient dy of an output.
struct Gradient {
  Images like;  // of the same shape
  Source source;
};

// It is given as it is, or as y, out, dout and coef, from which it is formed.
Gradient gradient(const ffi::RemainingArgs& given, bool relu) {
  check(given.size() == 1 || given.size() == 4, "expected dy, or y, out, dout and coef");
  const auto images = [&](size_t i) { return optional<Images>(given, i); };
  const Images first = images(0);
  if (given.size() == 1) return {first, {first.typed_data(), first.dimensions()[3]}};
  const Rows coef = optional<Rows>(given, 3);
  check_sizes("coef", coef, {3, channels(first)});
  return {first, formed(first, images(1), images(2), coef.typed_data(), relu)};
}

// ---- Calls

ffi::Error Conv(ffi::ThreadPool pool, int64_t stride, Images x, Kernel kernel, Result<Images> y,
                Result<Rows> sums) {
  return guarded([&] {
    const ConvShape shape = conv_shape(x, kernel, *y, stride);
    check_sizes("sums", *sums, {2, shape.out_channels});
    check_apart(*y, x, kernel, *sums);
    check_apart(*sums, x, kernel);
    conv(on(pool), shape, x.typed_data(), kernel.typed_data(), y->typed_data(), sums->typed_data());
  });
}

ffi::Error InputGradient(ffi::ThreadPool pool, int64_t stride, bool relu, Kernel kernel,
                         ffi::RemainingArgs more, Result<Images> dx) {
  return guarded([&] {
    const Gradient dy = gradient(more, relu);
    const ConvShape shape = conv_shape(*dx, kernel, dy.like, stride);
    channels(*dx);
    check_apart(*dx, kernel);
    check_apart(*dx, more);
    conv_input_gradient(on(pool), shape, dy.source, kernel.typed_data(), dx->typed_data());
  });
}

ffi::Error FilterGradient(ffi::ThreadPool pool, int64_t stride, bool relu, Images x,
                          ffi::RemainingArgs more, Result<Kernel> dkernel) {
  return guarded([&] {
    const Gradient dy = gradient(more, relu);
    const ConvShape shape = conv_shape(x, *dkernel, dy.like, stride);
    check_apart(*dkernel, x);
    check_apart(*dkernel, more);
    conv_filter_gradient(on(pool), shape, x.typed_data(), dy.source, dkernel->typed_data());
  });
}

ffi::Error NormAct(ffi::ThreadPool pool, bool relu, Images y, Rows coef, ffi::RemainingArgs more,
                   Result<Images> out) {
  return guarded([&] {
    check_sizes("coef", coef, {2, channels(y)});
    check_sizes("out", *out, sizes(y));
    check_apart(*out, y, coef);
    check_apart(*out, more);
    const float* residual = nullptr;
    if (more.size() > 0) {
      check(more.size() == 1, "expected at most one residual");
      const auto images = optional<Images>(more, 0);
      check_sizes("residual", images, sizes(y));
      residual = images.typed_data();
    }
    norm_act(on(pool), pixels(y), channels(y), y.typed_data(), coef.typed_data(), residual, relu,
             out->typed_data());
  });
}

ffi::Error NormActGradient(ffi::ThreadPool pool, bool relu, ffi::RemainingArgs more,
                           Result<Images> dx) {
  return guarded([&] {
    check(more.size() == 4, "expected y, out, dout and coef");
    const Gradient dy = gradient(more, relu);
    check_sizes("dx", *dx, sizes(dy.like));
    check_apart(*dx, more);
    norm_act_gradient(on(pool), pixels(dy.like), dy.source, dx->typed_data());
  });
}

// With out and dout the sums of dz and of dz * y; without, those of y and of y * y.
ffi::Error Reduce(ffi::ThreadPool pool, bool relu, Images y, ffi::RemainingArgs given,
                  Result<Rows> sums, ffi::RemainingRets more) {
  return guarded([&] {
    check(given.size() == 0 || given.size() == 2, "expected out and dout, or neither");
    const bool dz_given = given.size() == 2;
    const Images out = dz_given ? optional<Images>(given, 0) : y;
    const Images dout = dz_given ? optional<Images>(given, 1) : y;
    const Source source = formed(y, out, dout, nullptr, relu && dz_given);
    check_sizes("sums", *sums, {2, channels(y)});
    check_apart(*sums, y, out, dout);
    float* dz = nullptr;
    if (more.size() > 0) {
      check(more.size() == 1, "expected at most one dz");
      auto images = optional<Images>(more, 0);
      check_sizes("dz", *images, sizes(y));
      check_apart(*images, y, out, dout, *sums);
      dz = images->typed_data();
    }
    reduce(on(pool), pixels(y), source, sums->typed_data(), dz);
  });
}

auto call() { return ffi::Ffi::Bind().Ctx<ffi::ThreadPool>(); }
auto strided() { return call().Attr<int64_t>("stride"); }
auto rectified() { return call().Attr<bool>("relu"); }

}  // namespace
}  // namespace resnet_jax

using namespace resnet_jax;

#define TARGET XLA_FFI_DEFINE_HANDLER_SYMBOL

TARGET(resnet_conv, Conv, strided().Arg<Images>().Arg<Kernel>().Ret<Images>().Ret<Rows>());
TARGET(resnet_conv_input_gradient, InputGradient,
       strided().Attr<bool>("relu").Arg<Kernel>().RemainingArgs().Ret<Images>());
TARGET(resnet_conv_filter_gradient, FilterGradient,
       strided().Attr<bool>("relu").Arg<Images>().RemainingArgs().Ret<Kernel>());
TARGET(resnet_norm_act, NormAct,
       rectified().Arg<Images>().Arg<Rows>().RemainingArgs().Ret<Images>());
TARGET(resnet_norm_act_gradient, NormActGradient, rectified().RemainingArgs().Ret<Images>());
TARGET(resnet_reduce, Reduce,
       rectified().Arg<Images>().RemainingArgs().Ret<Rows>().RemainingRets());

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
