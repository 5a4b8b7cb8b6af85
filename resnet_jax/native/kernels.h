// 3x3 convolutions with padding 1, and what stands between two of them, for a CPU's vector unit.
//
// float32; activations [batch, height, width, channels], kernels [3, 3, in, out].
//
// A convolution copies an image into a scratch of channel blocks within a border of zeros, so that
// its inner loops know neither borders nor the number of channels: an address there is a base plus
// a constant. Work is cut into chunks by the shape alone, and what chunks have summed up is added
// in their order: results are the same to the bit for any number of threads. Sums start anew with
// every tile or block, so that rounding errors grow with the block and not with the batch.
#ifndef RESNET_JAX_NATIVE_KERNELS_H_
#define RESNET_JAX_NATIVE_KERNELS_H_

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <new>
#include <type_traits>
#include <vector>

namespace resnet_jax {

// Floats in a vector register; pixels in a tile, whose sums fill half of the registers.
#if defined(__AVX512F__)
constexpr int kLanes = 16, kPixels = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8, kPixels = 8;
#elif defined(__aarch64__)
constexpr int kLanes = 4, kPixels = 16;
#else
constexpr int kLanes = 4, kPixels = 8;
#endif
constexpr int kTaps = 9;             // of a 3x3 kernel
constexpr int kTapColumns = kLanes < 8 ? 3 : 1;  // in a tile: 8 sums hide an addition's latency
constexpr int64_t kMostChunks = 16;  // where every chunk has sums of its own

typedef float Vector __attribute__((vector_size(4 * kLanes)));

inline Vector load(const float* from) {
  Vector vector;
  std::memcpy(&vector, from, sizeof vector);
  return vector;
}

inline void store(float* to, Vector vector) { std::memcpy(to, &vector, sizeof vector); }
inline void zero(float* to, int64_t count) { std::memset(to, 0, count * sizeof(float)); }
inline Vector broadcast(float value) { return value - Vector{}; }
inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// parallel(n, body) calls body(0) .. body(n - 1), in any order and at the same time, and returns
// when all have ended.
using Parallel = std::function<void(int64_t n, const std::function<void(int64_t)>& body)>;

using Scratch = std::unique_ptr<float[], decltype(&std::free)>;

// Floats that start on a cache line; not set.
inline Scratch scratch(int64_t count) {
  void* memory = std::aligned_alloc(64, ceil_div(count * sizeof(float), 64) * 64);
  if (memory == nullptr) throw std::bad_alloc();
  return Scratch(static_cast<float*>(memory), &std::free);
}

// ---- Shapes

struct ConvShape {
  int64_t batch, height, width;  // of the input
  int64_t in_channels, out_channels, stride;

  int64_t out_height() const { return height / stride; }
  int64_t out_width() const { return width / stride; }
  int64_t in_size() const { return height * width * in_channels; }
  int64_t out_size() const { return out_height() * out_width() * out_channels; }
};

inline bool whole_vectors(int64_t channels) { return channels > 0 && channels % kLanes == 0; }

// Whether a convolution and its filter gradient are served, and with input channels that are whole
// vectors its input gradient; everything below relies on it.
inline bool served(const ConvShape& shape) {
  constexpr int64_t kLargest = 1 << 14;  // of a dimension, so that products stay below 2^63
  for (int64_t size : {shape.height, shape.width, shape.in_channels, shape.out_channels}) {
    if (size < 1 || size > kLargest) return false;
  }
  const bool batch = shape.batch >= 1 && shape.batch <= 1 << 20;
  const bool even = shape.height % 2 == 0 && shape.width % 2 == 0;
  const bool stride = shape.stride == 1 || (shape.stride == 2 && even);
  return batch && stride && whole_vectors(shape.out_channels);
}

// ---- Where activations come from

// An array `values` as it is; or, with `coef` [3, channels] = A, B, K, the gradient of a
// normalisation's input y, formed where it is needed and never stored: A * dz + B * y + K, where dz
// is what a rectifier with output `out` lets through of `values`; all of it without `relu`.
struct Source {
  const float* values;
  int64_t channels;
  const float *y = nullptr, *out = nullptr, *coef = nullptr;
  bool relu = false;

  Vector dz(int64_t element) const {
    const Vector gradient = load(values + element);
    return relu ? load(out + element) > 0.0f ? gradient : Vector{} : gradient;
  }
  // Reads the elements of a vector of channels.
  auto vectors(int64_t channel) const {
    const auto row = [&](int i) { return coef ? load(coef + i * channels + channel) : Vector{}; };
    return [*this, a = row(0), b = row(1), k = row(2)](int64_t element) {
      if (!coef) return load(values + element);
      return a * dz(element) + (b * load(y + element) + k);
    };
  }
};

// Fetches what the next images need, a little at each call, while the tiles of these are computed:
// that hides most of the time for which filling the scratch would wait for memory.
class Ahead {
 public:
  Ahead(const Source& source, int64_t begin, int64_t end, int64_t calls)
      : arrays_{source.values, source.y, source.relu ? source.out : nullptr},
        next_(begin), end_(end), share_(ceil_div(end - begin, calls)) {}
  void operator()() {
    constexpr int64_t kLine = 16;  // floats
    for (int64_t stop = std::min(next_ + share_, end_); next_ < stop; next_ += kLine) {
      for (const float* array : arrays_) {
        if (array) __builtin_prefetch(array + next_);
      }
    }
  }

 private:
  std::array<const float*, 3> arrays_;
  int64_t next_, end_, share_;
};

// The layout [blocks][height + 2][width + 2][kLanes] of an image in the scratch; zeros at the
// border and behind the last channel.
struct Padded {
  int64_t height, width, channels;  // of the image

  int64_t blocks() const { return ceil_div(channels, kLanes); }
  int64_t row() const { return (width + 2) * kLanes; }
  int64_t plane() const { return (height + 2) * row(); }
  int64_t size() const { return blocks() * plane(); }
  int64_t image_size() const { return height * width * channels; }
};

// Fills `blocks` planes, of the blocks from `first` on, with image number `image` of the source.
// What has to be zero was so before, and stays so.
inline void fill(const Source& source, int64_t image, const Padded& to, int64_t first,
                 int64_t blocks, float* planes) {
  for (int64_t at = 0; at < to.height * blocks; at++) {
    const int64_t h = at / blocks, b = at % blocks, channel = (first + b) * kLanes;
    const int64_t element = image * to.image_size() + h * to.width * to.channels + channel;
    float* pixels = planes + b * to.plane() + (h + 1) * to.row() + kLanes;
    if (channel + kLanes <= to.channels) {
      const auto vector = source.vectors(channel);
      for (int64_t x = 0; x < to.width; x++) {
        store(pixels + x * kLanes, vector(element + x * to.channels));
      }
    } else {  // only inputs have such blocks
      for (int64_t x = 0; x < to.width; x++) {
        const float* from = source.values + element + x * to.channels;
        std::copy(from, from + to.channels - channel, pixels + x * kLanes);
      }
    }
  }
}

// Sums in double precision, kept apart for every chunk: [chunks][count].
inline void add(double* sums, Vector vector) {
  for (int lane = 0; lane < kLanes; lane++) sums[lane] += vector[lane];
}

inline void write_total(const std::vector<double>& partial, int64_t count, float* sums) {
  for (int64_t i = 0; i < count; i++) {
    double sum = 0;
    for (size_t at = i; at < partial.size(); at += count) sum += partial[at];
    sums[i] = static_cast<float>(sum);
  }
}

// ---- Convolution, forward and with respect to the input

// One pass over a padded image: an output pixel is the sum over some taps of the kernel.
struct Pass {
  int64_t stride;            // pixels of the image from one output to the next
  int64_t height, width;     // outputs
  int64_t start, row, step;  // floats to the first output, from row to row, from pixel to pixel
  struct Tap {
    int64_t pixel, kernel;  // floats from an output's place in the image; index in the kernel
  };
  std::vector<Tap> taps = {};
};

// Rows x Columns output pixels x one vector of output channels, in registers.
//
// For each tap and input channel a vector of weights is loaded and multiplied by one float of every
// pixel, which the instruction reads and spreads: with 16 pixels and 16 lanes 512 flops for 128
// bytes from the L1 cache, 4 flops a byte; a pair of blocks has 9 KiB of weights, which stay there.
// Measured on Zen 4 with AVX-512, ResNet-20 at batch 128, arrays not in the caches: 84-92% of the
// peak forward, 72-93% for input gradients (the least at stride 2), 60% in the first layer.
template <int Rows, int Columns, int Stride>
[[gnu::always_inline]]  // a call would need the sums in memory
inline void tile(const Padded& image, const Pass& pass, const float* planes, const float* weights,
                 Ahead& ahead, Vector (&sums)[Rows * Columns]) {
  for (int64_t first = 0; first < image.channels; first += kLanes) {
    const int64_t channels = std::min<int64_t>(kLanes, image.channels - first);
    for (const Pass::Tap& tap : pass.taps) {
      const float* weight = weights + tap.kernel * kLanes * kLanes;
      const float* pixels[Rows];
#pragma GCC unroll 4
      for (int r = 0; r < Rows; r++) {
        pixels[r] = planes + tap.pixel + r * Stride * image.row();
        asm("" : "+r"(pixels[r]));  // or GCC takes a register for every pixel, not for every row
      }
      ahead();
      for (int64_t c = 0; c < channels; c++) {
        const Vector w = load(weight + c * kLanes);
#pragma GCC unroll 16
        for (int p = 0; p < Rows * Columns; p++) {
          sums[p] += broadcast(pixels[p / Columns][c + p % Columns * Stride * kLanes]) * w;
        }
      }
    }
    planes += image.plane();
    weights += kTaps * kLanes * kLanes;
  }
}

// All output pixels for one vector of output channels. The last tiles of a row and of a column move
// back to end with it, and count only what no tile before them has counted.
template <int Rows, int Columns, int Stride>
void tiles(const Padded& image, const Pass& pass, const float* planes, const float* weights,
           float* out, Ahead& ahead, Vector& sum, Vector& squares) {
  for (int64_t h = 0; h < pass.height; h += Rows) {
    const int64_t top = std::min(h, pass.height - Rows);
    for (int64_t x = 0; x < pass.width; x += Columns) {
      const int64_t left = std::min(x, pass.width - Columns);
      const float* from = planes + Stride * (top * image.row() + left * kLanes);
      float* to = out + top * pass.row + left * pass.step;
#pragma GCC unroll 16
      for (int p = 0; p < Rows * Columns; p++) {
        __builtin_prefetch(to + p / Columns * pass.row + p % Columns * pass.step, 1);
      }
      Vector sums[Rows * Columns] = {}, tile_sum = {}, tile_squares = {};
      tile<Rows, Columns, Stride>(image, pass, from, weights, ahead, sums);
#pragma GCC unroll 16
      for (int p = 0; p < Rows * Columns; p++) {
        store(to + p / Columns * pass.row + p % Columns * pass.step, sums[p]);
        if (top + p / Columns < h || left + p % Columns < x) continue;
        tile_sum += sums[p];
        tile_squares += sums[p] * sums[p];
      }
      sum += tile_sum;
      squares += tile_squares;
    }
  }
}

// The form of tile that covers the output with the fewest, the widest of equals.
template <int Stride>
auto best_tiles(const Pass& pass) {
  const auto count = [&](int64_t rows, int64_t columns) {
    if (rows > pass.height || columns > pass.width) return INT64_MAX;
    return ceil_div(pass.height, rows) * ceil_div(pass.width, columns);
  };
  const int64_t line = count(1, kPixels), two = count(2, kPixels / 2), four = count(4, kPixels / 4);
  const int64_t fewest = std::min({line, two, four});
  if (fewest == INT64_MAX && count(2, 2) == INT64_MAX) return tiles<1, 1, Stride>;
  return fewest == INT64_MAX ? tiles<2, 2, Stride>
         : line == fewest    ? tiles<1, kPixels, Stride>
         : two == fewest     ? tiles<2, kPixels / 2, Stride>
                             : tiles<4, kPixels / 4, Stride>;
}

// Kernels [3, 3, in, out], if `transposed` [3, 3, out, in], as [out / kLanes][in / kLanes][9]
// [kLanes][kLanes]; zeros behind the last input channel.
inline void pack(const Parallel& parallel, const float* kernel, int64_t in, int64_t out,
                 bool transposed, float* packed) {
  const int64_t rows = ceil_div(in, kLanes) * kTaps * kLanes;
  const int64_t in_step = transposed ? 1 : out, out_step = transposed ? in : 1;
  parallel(out / kLanes, [=](int64_t o) {
    for (int64_t at = 0; at < rows; at++) {
      const int64_t tap = at / kLanes % kTaps, c = at / (kTaps * kLanes) * kLanes + at % kLanes;
      const float* from = kernel + tap * in * out + c * in_step + o * kLanes * out_step;
      float* to = packed + (o * rows + at) * kLanes;
      for (int lane = 0; lane < kLanes; lane++) to[lane] = c < in ? from[lane * out_step] : 0.0f;
    }
  });
}

// Runs passes, which write outputs of equal size, over a batch; `kernel` as for `pack`; writes the
// sums [2, out_channels] of the output and of its squares unless `channel_sums` is null.
inline void run(const Parallel& parallel, int64_t batch, const Source& source, const Padded& image,
                const std::vector<Pass>& passes, const float* kernel, bool transposed,
                int64_t out_channels, float* out, float* channel_sums) {
  const int64_t area = passes[0].height * passes[0].width, out_blocks = out_channels / kLanes;
  const int64_t out_size = passes.size() * area * out_channels;
  const int64_t weights = image.blocks() * kTaps * kLanes * kLanes;  // of an output block
  const Scratch packed = scratch(out_blocks * weights);
  pack(parallel, kernel, image.channels, out_channels, transposed, packed.get());
  // Weights that crowd the L2 cache are used for as many images as half a MiB holds.
  const bool few_weights = out_blocks * weights <= 1 << 17;
  const int64_t group = few_weights ? 1 : std::max<int64_t>(1, (1 << 17) / image.size());
  const int64_t chunks = std::max(std::min(batch, kMostChunks), batch / 8);
  std::vector<double> total(chunks * 2 * out_channels);
  parallel(chunks, [&](int64_t chunk) {
    const int64_t end = batch * (chunk + 1) / chunks;
    double* chunk_sums = total.data() + chunk * 2 * out_channels;
    const Scratch images = scratch(group * image.size());
    zero(images.get(), group * image.size());
    for (int64_t first = batch * chunk / chunks; first < end; first += group) {
      const int64_t count = std::min(group, end - first), next = first + count;
      for (int64_t i = 0; i < count; i++) {
        fill(source, first + i, image, 0, image.blocks(), images.get() + i * image.size());
      }
      // All passes together visit every tap once.
      const int64_t visits = kTaps * image.blocks() * out_blocks * count * ceil_div(area, kPixels);
      Ahead ahead(source, next * image.image_size(),
                  std::min(end, next + group) * image.image_size(), visits);
      for (const Pass& pass : passes) {
        const auto form = pass.stride == 1 ? best_tiles<1>(pass) : best_tiles<2>(pass);
        for (int64_t o = 0; o < out_blocks; o++) {
          Vector sum = {}, squares = {};
          for (int64_t i = 0; i < count; i++) {
            float* to = out + (first + i) * out_size + pass.start + o * kLanes;
            form(image, pass, images.get() + i * image.size(), packed.get() + o * weights, to,
                 ahead, sum, squares);
          }
          add(chunk_sums + o * kLanes, sum);
          add(chunk_sums + out_channels + o * kLanes, squares);
        }
      }
    }
  });
  if (channel_sums) write_total(total, 2 * out_channels, channel_sums);
}

// y = conv(x, kernel); sums [2, out_channels] of y and of y * y.
inline void conv(const Parallel& parallel, const ConvShape& shape, const float* x,
                 const float* kernel, float* y, float* sums) {
  const Padded image = {shape.height, shape.width, shape.in_channels};
  Pass pass = {shape.stride, shape.out_height(), shape.out_width(), 0,
               shape.out_width() * shape.out_channels, shape.out_channels};
  for (int tap = 0; tap < kTaps; tap++) {
    pass.taps.push_back({tap / 3 * image.row() + tap % 3 * kLanes, tap});
  }
  const Source source = {x, shape.in_channels};
  run(parallel, shape.batch, source, image, {pass}, kernel, false, shape.out_channels, y, sums);
}

// dx of a convolution, from the gradient dy of its output.
//
// dx[i] sums dy[(i + 1 - tap) / stride] * kernel[tap] over the taps that divide: at stride 1 a
// convolution with the transposed kernel, at stride 2 one with a part of it for each phase of i.
inline void conv_input_gradient(const Parallel& parallel, const ConvShape& shape, const Source& dy,
                                const float* kernel, float* dx) {
  const int64_t stride = shape.stride, channels = shape.in_channels;
  const Padded image = {shape.out_height(), shape.out_width(), shape.out_channels};
  std::vector<Pass> passes;
  for (int64_t phase = 0; phase < stride * stride; phase++) {
    Pass pass = {1, image.height, image.width,
                 (phase / stride * shape.width + phase % stride) * channels,
                 stride * shape.width * channels, stride * channels};
    for (int tap = 0; tap < kTaps; tap++) {
      const int64_t down = phase / stride + 1 - tap / 3, right = phase % stride + 1 - tap % 3;
      if (down % stride != 0 || right % stride != 0) continue;
      const int64_t pixel = (down / stride + 1) * image.row() + (right / stride + 1) * kLanes;
      pass.taps.push_back({pixel, tap});
    }
    passes.push_back(pass);
  }
  run(parallel, shape.batch, dy, image, passes, kernel, true, channels, dx, nullptr);
}

// ---- Convolution, with respect to the kernel

// What a tile of the filter gradient sums over, in padded images.
struct Pixels {
  int64_t images, rows, columns;
  int64_t in_image, in_row;    // floats of the input from image to image, from row to row
  int64_t out_image, out_row;  // the same of the gradient
};

// kTapColumns x kLanes input channels x one vector of output channels, in registers.
//
// For each pixel a vector of dy is loaded and multiplied by one float of every input channel: with
// 16 channels and 16 lanes 512 flops for 128 bytes from the L1 cache, 4 flops a byte.
// Measured as above: 77-88% of the peak, 69-86% if dy is formed; 16% in the first layer, where 13 of
// the 16 channels are zeros: 1% of a step of ResNet-20, less than code of its own would be worth.
template <int Stride>
inline void filter_tile(const Pixels& pixels, const float* x, const float* dy, float* dkernel) {
  constexpr int kSums = kTapColumns * kLanes;
  Vector sums[kSums] = {};
  for (int64_t i = 0; i < pixels.images; i++) {
    for (int64_t r = 0; r < pixels.rows; r++) {
      const float* input = x + i * pixels.in_image + r * pixels.in_row;
      const float* gradient = dy + i * pixels.out_image + r * pixels.out_row;
      for (int64_t p = 0; p < pixels.columns; p++, input += Stride * kLanes, gradient += kLanes) {
        const Vector d = load(gradient);
#pragma GCC unroll 16
        for (int s = 0; s < kSums; s++) sums[s] += broadcast(input[s]) * d;
      }
    }
  }
#pragma GCC unroll 16
  for (int s = 0; s < kSums; s++) {
    store(dkernel + s * kLanes, load(dkernel + s * kLanes) + sums[s]);
  }
}

// The gradient of the kernel, from the input x and the gradient dy of the output.
inline void conv_filter_gradient(const Parallel& parallel, const ConvShape& shape, const float* x,
                                 const Source& dy, float* dkernel) {
  const Source input = {x, shape.in_channels};
  const Padded image = {shape.height, shape.width, shape.in_channels};
  const Padded output = {shape.out_height(), shape.out_width(), shape.out_channels};
  const int64_t out_blocks = output.blocks(), area = output.height * output.width;
  const int64_t pair = kTaps * kLanes * kLanes, size = out_blocks * image.blocks() * pair;
  // Every chunk of the batch has partial sums: at most 16 MiB of them, of 256 pixels or more. Where
  // large kernels allow few chunks, the output channels are cut as well.
  const int64_t worthwhile = std::clamp<int64_t>(shape.batch * area / 256, 1, shape.batch);
  const int64_t chunks =
      std::clamp<int64_t>((1 << 22) / size, 1, std::min(worthwhile, kMostChunks));
  const int64_t cuts = std::min(ceil_div(kMostChunks, chunks), ceil_div(out_blocks, 4));
  // A tile sums over about 64 pixels, rows of an image or small images: 4 KiB of dy, and what they
  // need of x, stay in the L1 cache for all taps.
  const int64_t group = std::clamp<int64_t>(128 / area, 1, ceil_div(shape.batch, chunks));
  const int64_t most_rows = group > 1 ? output.height : ceil_div(64, output.width);
  const Scratch partial = scratch(chunks * size);
  parallel(chunks * cuts, [&](int64_t item) {
    const int64_t chunk = item / cuts, cut = item % cuts;
    const int64_t end = shape.batch * (chunk + 1) / chunks;
    const int64_t first_block = out_blocks * cut / cuts;
    const int64_t blocks = out_blocks * (cut + 1) / cuts - first_block;
    const int64_t out_image = blocks * output.plane();
    float* sums = partial.get() + chunk * size + first_block * image.blocks() * pair;
    zero(sums, blocks * image.blocks() * pair);
    const Scratch inputs = scratch(group * image.size()), gradients = scratch(group * out_image);
    zero(inputs.get(), group * image.size());
    zero(gradients.get(), group * out_image);
    for (int64_t first = shape.batch * chunk / chunks; first < end; first += group) {
      const int64_t count = std::min(group, end - first), next = first + count;
      for (int64_t i = 0; i < count; i++) {
        fill(input, first + i, image, 0, image.blocks(), inputs.get() + i * image.size());
        fill(dy, first + i, output, first_block, blocks, gradients.get() + i * out_image);
      }
      const int64_t last = std::min(end, next + group);
      const int64_t visits = blocks * image.blocks() * ceil_div(output.height, most_rows) * kTaps;
      Ahead input_ahead(input, next * shape.in_size(), last * shape.in_size(), visits);
      Ahead dy_ahead(dy, next * shape.out_size(), last * shape.out_size(), visits);
      const auto tile = shape.stride == 1 ? filter_tile<1> : filter_tile<2>;
      for (int64_t b = 0; b < blocks * image.blocks(); b++) {
        const float* in_plane = inputs.get() + b % image.blocks() * image.plane();
        const float* out_plane = gradients.get() + b / image.blocks() * output.plane();
        for (int64_t h = 0; h < output.height; h += most_rows) {
          const int64_t rows = std::min(most_rows, output.height - h);
          const Pixels pixels = {count, rows, output.width, image.size(),
                                 shape.stride * image.row(), out_image, output.row()};
          for (int tap = 0; tap < kTaps; tap += kTapColumns) {
            const int64_t corner = (h * shape.stride + tap / 3) * image.row() + tap % 3 * kLanes;
            tile(pixels, in_plane + corner, out_plane + (h + 1) * output.row() + kLanes,
                 sums + (b * kTaps + tap) * kLanes * kLanes);
            input_ahead();
            dy_ahead();
          }
        }
      }
    }
  });
  parallel(kTaps, [&](int64_t tap) {
    for (int64_t at = 0; at < shape.in_channels * out_blocks; at++) {
      const int64_t i = at / out_blocks, o = at % out_blocks;
      const int64_t block = o * image.blocks() + i / kLanes, c = i % kLanes;
      const float* from = partial.get() + block * pair + (tap * kLanes + c) * kLanes;
      Vector sum = {};
      for (int64_t chunk = 0; chunk < chunks; chunk++) sum += load(from + chunk * size);
      store(dkernel + (tap * shape.in_channels + i) * shape.out_channels + o * kLanes, sum);
    }
  });
}

// ---- Between convolutions: [pixels, channels] in whole vectors of channels.
//
// A few flops for 12 to 16 bytes: all of it waits for memory, and so reads everything once.

// Calls body(chunk, first pixel, pixel behind the last) for chunks of 64 KiB or more.
template <class Body>
void for_each_chunk(const Parallel& parallel, int64_t pixels, int64_t channels, const Body& body) {
  const int64_t worthwhile = std::clamp<int64_t>(pixels * channels >> 14, 1, pixels);
  const int64_t chunks = std::min(worthwhile, kMostChunks);
  parallel(chunks, [&](int64_t chunk) {
    body(chunk, pixels * chunk / chunks, pixels * (chunk + 1) / chunks);
  });
}

// out = y * scale + shift, then + residual unless null, then rectified if `relu`; a NaN stays one,
// so that a diverging run is noticed. coef [2, channels] = scale, shift.
inline void norm_act(const Parallel& parallel, int64_t pixels, int64_t channels, const float* y,
                     const float* coef, const float* residual, bool relu, float* out) {
  for_each_chunk(parallel, pixels, channels, [=](int64_t, int64_t begin, int64_t end) {
    for (int64_t pixel = begin; pixel < end; pixel++) {
      for (int64_t channel = 0; channel < channels; channel += kLanes) {
        const int64_t i = pixel * channels + channel;
        Vector value = load(y + i) * load(coef + channel) + load(coef + channels + channel);
        if (residual) value += load(residual + i);
        store(out + i, relu ? value < 0.0f ? Vector{} : value : value);
      }
    }
  });
}

// Sums [2, channels] of dz and of dz * y; stores dz unless `stored` is null.
inline void reduce(const Parallel& parallel, int64_t pixels, const Source& dy, float* sums,
                   float* stored) {
  constexpr int64_t kBlock = 64;  // pixels that are summed in single precision
  const int64_t channels = dy.channels;
  std::vector<double> total(kMostChunks * 2 * channels);
  for_each_chunk(parallel, pixels, channels, [&](int64_t chunk, int64_t begin, int64_t end) {
    double* chunk_sums = total.data() + chunk * 2 * channels;
    for (int64_t first = begin; first < end; first += kBlock) {
      for (int64_t channel = 0; channel < channels; channel += kLanes) {
        Vector sum = {}, products = {};
        for (int64_t pixel = first; pixel < std::min(first + kBlock, end); pixel++) {
          const int64_t i = pixel * channels + channel;
          const Vector dz = dy.dz(i);
          sum += dz;
          products += dz * load(dy.y + i);
          if (stored) store(stored + i, dz);
        }
        add(chunk_sums + channel, sum);
        add(chunk_sums + channels + channel, products);
      }
    }
  });
  write_total(total, 2 * channels, sums);
}

}  // namespace resnet_jax

#endif
