#include "sim/sim_disk.h"

#include <algorithm>
#include <set>

#include "base/assert.h"
#include "base/crc32c.h"

namespace hf::sim {

namespace {

constexpr Error kPowerIsOff = {Code::kIo, "simulated: the power is off", 5};

uint64_t round_up(uint64_t value, uint64_t unit) { return (value + unit - 1) / unit * unit; }

std::string garbage(Prng& prng, uint64_t size) {
  std::string out(size, '\0');
  for (char& c : out) c = static_cast<char>(prng.next());
  return out;
}

}  // namespace

const char* cut_model_name(CutModel model) {
  switch (model) {
    case CutModel::kLost:
      return "lost";
    case CutModel::kKept:
      return "kept";
    case CutModel::kPrefix:
      return "prefix";
    case CutModel::kPages:
      return "pages";
    case CutModel::kTorn:
      return "torn";
    case CutModel::kGarbage:
      return "garbage";
    case CutModel::kReordered:
      return "reordered";
  }
  return "?";
}

const char* operation_name(Operation operation) {
  switch (operation) {
    case Operation::kList:
      return "list";
    case Operation::kSize:
      return "size";
    case Operation::kRead:
      return "read";
    case Operation::kFree:
      return "free";
    case Operation::kCreate:
      return "create";
    case Operation::kWrite:
      return "write";
    case Operation::kTruncate:
      return "truncate";
    case Operation::kSync:
      return "sync";
    case Operation::kRename:
      return "rename";
    case Operation::kRemove:
      return "remove";
    case Operation::kSyncDirectory:
      return "sync_directory";
  }
  return "?";
}

// --- Image.

Image::Page& Image::page_to_write(uint64_t number) {
  std::shared_ptr<Page>& page = pages_[number];
  if (page == nullptr) {
    page = std::make_shared<Page>();
    page->fill(0);
  } else if (page.use_count() > 1) {
    page = std::make_shared<Page>(*page);
  }
  return *page;
}

void Image::resize(uint64_t size) {
  if (size < size_) {
    pages_.erase(pages_.lower_bound(round_up(size, kPageBytes) / kPageBytes), pages_.end());
    if (const uint64_t tail = size % kPageBytes; tail != 0 && pages_.contains(size / kPageBytes)) {
      Page& page = page_to_write(size / kPageBytes);
      std::fill(page.begin() + static_cast<ptrdiff_t>(tail), page.end(), 0);
    }
  }
  size_ = size;
}

std::string Image::read(uint64_t offset, uint64_t size) const {
  if (offset >= size_) return {};
  size = std::min(size, size_ - offset);
  std::string out(size, '\0');
  for (auto it = pages_.lower_bound(offset / kPageBytes); it != pages_.end(); ++it) {
    const uint64_t page_begin = it->first * kPageBytes;
    if (page_begin >= offset + size) break;
    const uint64_t begin = std::max(offset, page_begin);
    const uint64_t end = std::min(offset + size, page_begin + kPageBytes);
    std::memcpy(out.data() + (begin - offset), it->second->data() + (begin - page_begin), end - begin);
  }
  return out;
}

void Image::write(uint64_t offset, Bytes bytes) {
  size_ = std::max(size_, offset + bytes.size());
  while (!bytes.empty()) {
    const uint64_t within = offset % kPageBytes;
    const uint64_t part = std::min<uint64_t>(bytes.size(), kPageBytes - within);
    std::memcpy(page_to_write(offset / kPageBytes).data() + within, bytes.data(), part);
    offset += part;
    bytes.remove_prefix(part);
  }
}

void Image::flip(uint64_t offset, uint8_t mask) {
  HF_ASSERT(offset < size_);
  char& byte = page_to_write(offset / kPageBytes)[offset % kPageBytes];
  byte = static_cast<char>(static_cast<uint8_t>(byte) ^ mask);
}

std::vector<uint64_t> Image::used_pages() const {
  std::vector<uint64_t> out;
  for (const auto& [number, page] : pages_) {
    if (std::any_of(page->begin(), page->end(), [](char c) { return c != 0; })) out.push_back(number);
  }
  return out;
}

// --- Entering and leaving an operation.

Result<> SimDisk::enter(Operation operation, const std::string& name, uint64_t offset, Bytes bytes) {
  ++operations_;
  const uint64_t parts[] = {static_cast<uint64_t>(operation), crc32c(name), offset, bytes.size(),
                            crc32c(bytes)};
  for (const uint64_t part : parts) digest_ = (digest_ ^ part) * 0x100000001b3;
  if (dead_) return std::unexpected(kPowerIsOff);

  if (is_change(operation) && ++changes_ == cut_at_) cutting_ = true;
  if (cutting_) return {};  // The cut comes first; an error as well would say nothing more.

  std::optional<Error> error;
  for (Armed& armed : injections_) {
    if ((armed.injection.operations & Injection::bit(operation)) == 0) continue;
    ++armed.seen;
    if (armed.seen == armed.injection.at || (armed.injection.forever && armed.seen > armed.injection.at)) {
      error = armed.injection.error;
    }
  }
  uint32_t rate = 0;
  switch (operation) {
    case Operation::kRead:
      rate = rates_.read;
      break;
    case Operation::kWrite:
      rate = rates_.write;
      break;
    case Operation::kSync:
      rate = rates_.sync;
      break;
    case Operation::kCreate:
    case Operation::kTruncate:
    case Operation::kRename:
    case Operation::kRemove:
    case Operation::kSyncDirectory:
      rate = rates_.names;
      break;
    case Operation::kList:
    case Operation::kSize:
    case Operation::kFree:
      break;
  }
  if (!error && rate > 0 && prng_.chance(rate, 1'000'000)) error = Injection{}.error;
  if (error) {
    ++failures_;
    return std::unexpected(*error);
  }
  return {};
}

Result<> SimDisk::leave() {
  if (!cutting_) return {};
  cutting_ = false;
  dead_ = true;
  return std::unexpected(kPowerIsOff);
}

SimDisk::File* SimDisk::find(const std::string& name) {
  const auto it = names_.find(name);
  return it == names_.end() ? nullptr : &files_.at(it->second);
}

// --- store::Disk.

Result<std::vector<std::string>> SimDisk::list() {
  HF_TRY(enter(Operation::kList, "", 0, {}));
  std::vector<std::string> out;
  for (const auto& [name, file] : names_) out.push_back(name);
  return out;
}

Result<uint64_t> SimDisk::size(const std::string& name) {
  HF_TRY(enter(Operation::kSize, name, 0, {}));
  const File* file = find(name);
  if (file == nullptr) return fail(Code::kNotFound, "no such file", 2);
  return file->current.size();
}

Result<> SimDisk::create(const std::string& name, uint64_t size) {
  HF_TRY(enter(Operation::kCreate, name, size, {}));
  if (names_.contains(name)) {
    HF_TRY(leave());
    return fail(Code::kExists, "the file exists", 17);
  }
  if (!room_for(size)) {
    HF_TRY(leave());
    return fail(Code::kFull, "no space left on the simulated disk", 28);
  }
  const uint64_t number = file_next_++;
  File& file = files_[number];
  file.current.resize(size);
  names_[name] = number;
  names_unsynced_.push_back({NameChange::Kind::kCreate, order_next_++, number, name, ""});
  file.unsynced.push_back({order_next_++, true, size, {}});
  return leave();
}

Result<std::string> SimDisk::read(const std::string& name, uint64_t offset, uint64_t size) {
  HF_TRY(enter(Operation::kRead, name, offset, {}));
  const File* file = find(name);
  if (file == nullptr) return fail(Code::kNotFound, "no such file", 2);
  return file->current.read(offset, size);
}

Result<> SimDisk::write(const std::string& name, uint64_t offset, Bytes bytes) {
  File* file = find(name);
  if (const Result<> entered = enter(Operation::kWrite, name, offset, bytes); !entered) {
    if (file != nullptr && !dead_) {
      // A write that fails has written some of it.
      const std::string part(bytes.substr(0, prng_.below(bytes.size() + 1)));
      if (!part.empty() && room_for(offset + part.size() <= file->current.size() ? 0 : part.size())) {
        file->current.write(offset, part);
        file->unsynced.push_back({order_next_++, false, offset, part});
      }
    }
    return entered;
  }
  if (file == nullptr) {
    HF_TRY(leave());
    return fail(Code::kNotFound, "no such file", 2);
  }
  const uint64_t size_old = round_up(file->current.size(), kPageBytes);
  const uint64_t size_new = round_up(offset + bytes.size(), kPageBytes);
  if (size_new > size_old && !room_for(size_new - size_old)) {
    HF_TRY(leave());
    return fail(Code::kFull, "no space left on the simulated disk", 28);
  }
  file->current.write(offset, bytes);
  file->unsynced.push_back({order_next_++, false, offset, std::string(bytes)});
  return leave();
}

Result<> SimDisk::truncate(const std::string& name, uint64_t size) {
  HF_TRY(enter(Operation::kTruncate, name, size, {}));
  File* file = find(name);
  if (file == nullptr) {
    HF_TRY(leave());
    return fail(Code::kNotFound, "no such file", 2);
  }
  if (size > file->current.size() && !room_for(size - file->current.size())) {
    HF_TRY(leave());
    return fail(Code::kFull, "no space left on the simulated disk", 28);
  }
  file->current.resize(size);
  file->unsynced.push_back({order_next_++, true, size, {}});
  return leave();
}

Result<> SimDisk::sync(const std::string& name) {
  File* file = find(name);
  if (const Result<> entered = enter(Operation::kSync, name, 0, {}); !entered) {
    if (file != nullptr && !dead_) lose_pages(*file);
    return entered;
  }
  HF_TRY(leave());  // Cut in the middle of a sync: nothing is certain.
  if (file == nullptr) return fail(Code::kNotFound, "no such file", 2);
  if (!file->unsynced.empty()) synced_last_.clear();
  for (const Change& change : file->unsynced) {
    if (change.resize) {
      file->durable.resize(change.offset);
    } else {
      file->durable.write(change.offset, change.bytes);
      synced_last_.push_back({name, change.offset, change.bytes.size()});
    }
  }
  file->unsynced.clear();
  return {};
}

Result<> SimDisk::rename(const std::string& from, const std::string& to) {
  HF_TRY(enter(Operation::kRename, from, crc32c(to), {}));
  const auto it = names_.find(from);
  if (it == names_.end()) {
    HF_TRY(leave());
    return fail(Code::kNotFound, "no such file", 2);
  }
  const uint64_t file = it->second;
  names_.erase(it);
  names_[to] = file;  // What had the name before is gone, as POSIX wants it.
  names_unsynced_.push_back({NameChange::Kind::kRename, order_next_++, file, from, to});
  return leave();
}

Result<> SimDisk::remove(const std::string& name) {
  HF_TRY(enter(Operation::kRemove, name, 0, {}));
  const auto it = names_.find(name);
  if (it == names_.end()) {
    HF_TRY(leave());
    return fail(Code::kNotFound, "no such file", 2);
  }
  names_unsynced_.push_back({NameChange::Kind::kRemove, order_next_++, it->second, name, ""});
  names_.erase(it);
  return leave();
}

Result<> SimDisk::sync_directory() {
  HF_TRY(enter(Operation::kSyncDirectory, "", 0, {}));
  HF_TRY(leave());
  names_unsynced_.clear();
  names_durable_ = names_;
  drop_unnamed();
  return {};
}

Result<uint64_t> SimDisk::free_bytes() {
  HF_TRY(enter(Operation::kFree, "", 0, {}));
  if (capacity_ == 0) return uint64_t{1} << 40;
  const uint64_t used = used_bytes();
  return used >= capacity_ ? 0 : capacity_ - used;
}

// --- Cuts.

void SimDisk::survive(const Change& change, CutModel model, Image* durable) {
  if (change.resize) {
    // Sizes are metadata: there or not. A file that is not kept whole is cut or grown by its writes alone.
    if (model == CutModel::kKept || prng_.chance(1, 2)) durable->resize(change.offset);
    return;
  }
  switch (model) {
    case CutModel::kLost:
      return;
    case CutModel::kKept:
      durable->write(change.offset, change.bytes);
      return;
    case CutModel::kPrefix:
      HF_ASSERT(false);
    case CutModel::kReordered:
      if (prng_.chance(1, 2)) durable->write(change.offset, change.bytes);
      return;
    case CutModel::kGarbage:
      survive_garbage(change, durable);
      return;
    case CutModel::kPages:
    case CutModel::kTorn: {
      const uint64_t unit = model == CutModel::kPages ? kPageBytes : kSectorBytes;
      const uint64_t end = change.offset + change.bytes.size();
      for (uint64_t at = change.offset; at < end;) {
        const uint64_t next = std::min(end, (at / unit + 1) * unit);
        if (prng_.chance(1, 2)) durable->write(at, Bytes(change.bytes).substr(at - change.offset, next - at));
        at = next;
      }
      return;
    }
  }
}

// After FoundationDB's model of a file that was not synced: by page, then by sector.
void SimDisk::survive_garbage(const Change& change, Image* durable) {
  const Bytes bytes = change.bytes;
  const uint64_t begin = change.offset;
  const uint64_t end = begin + bytes.size();
  for (uint64_t page = begin / kPageBytes * kPageBytes; page < end; page += kPageBytes) {
    const uint64_t fate = prng_.below(3);
    if (fate == 0) continue;
    const uint64_t page_from = std::max(begin, page);
    const uint64_t page_to = std::min(end, page + kPageBytes);
    if (fate == 1) {
      durable->write(page_from, bytes.substr(page_from - begin, page_to - page_from));
      continue;
    }
    const bool whole_page = prng_.chance(1, 8);
    const uint64_t first = whole_page ? page : page_from / kSectorBytes * kSectorBytes;
    const uint64_t last = whole_page ? page + kPageBytes : page_to;
    for (uint64_t sector = first; sector < last; sector += kSectorBytes) {
      const uint64_t from = std::max(page_from, sector);
      const uint64_t to = std::min(page_to, sector + kSectorBytes);
      if (from < to && prng_.chance(1, 4)) {
        durable->write(from, bytes.substr(from - begin, to - from));
      } else if (prng_.chance(2, 3)) {
        // Damage stays within what the file has on the medium, or will have by this write.
        const uint64_t limit = std::min(sector + kSectorBytes, std::max(durable->size(), page_to));
        if (sector >= limit) continue;
        const uint64_t size = limit - sector;
        const uint64_t part = prng_.below(3);
        const uint64_t cut = prng_.below(size + 1);
        const uint64_t damage_from = part == 1 ? sector + cut : sector;
        const uint64_t damage_to = part == 0 ? sector + cut : limit;
        if (damage_from < damage_to) durable->write(damage_from, garbage(prng_, damage_to - damage_from));
      }
    }
  }
}

void SimDisk::power_cut(CutModel model) {
  // The order up to which everything survives, for kPrefix.
  uint64_t prefix_end = 0;
  if (model == CutModel::kPrefix) {
    std::vector<uint64_t> orders;
    for (const NameChange& change : names_unsynced_) orders.push_back(change.order);
    for (const auto& [number, file] : files_) {
      for (const Change& change : file.unsynced) orders.push_back(change.order);
    }
    std::sort(orders.begin(), orders.end());
    if (!orders.empty()) {
      const uint64_t kept = prng_.below(orders.size() + 1);
      prefix_end = kept == orders.size() ? orders.back() + 1 : orders[kept];
    }
  }

  for (auto& [number, file] : files_) {
    for (const Change& change : file.unsynced) {
      if (model == CutModel::kLost) break;
      if (model != CutModel::kPrefix) {
        survive(change, model, &file.durable);
      } else if (change.order < prefix_end) {
        survive(change, CutModel::kKept, &file.durable);
      } else if (change.order == prefix_end && !change.resize) {
        const uint64_t sectors = prng_.below(change.bytes.size() / kSectorBytes + 1);
        file.durable.write(change.offset, Bytes(change.bytes).substr(0, sectors * kSectorBytes));
      }
    }
    file.unsynced.clear();
    file.current = file.durable;
  }

  for (const NameChange& change : names_unsynced_) {
    const bool kept = model == CutModel::kKept || (model == CutModel::kPrefix && change.order < prefix_end) ||
                      (model != CutModel::kLost && model != CutModel::kPrefix && prng_.chance(1, 2));
    if (!kept) continue;
    const auto it = names_durable_.find(change.name);
    switch (change.kind) {
      case NameChange::Kind::kCreate:
        names_durable_[change.name] = change.file;
        break;
      case NameChange::Kind::kRemove:
        if (it != names_durable_.end() && it->second == change.file) names_durable_.erase(it);
        break;
      case NameChange::Kind::kRename:
        if (it != names_durable_.end() && it->second == change.file) names_durable_.erase(it);
        names_durable_[change.to] = change.file;
        break;
    }
  }
  names_unsynced_.clear();
  names_ = names_durable_;
  drop_unnamed();
  revive();
}

void SimDisk::revive() {
  dead_ = false;
  cutting_ = false;
  cut_at_ = 0;
}

void SimDisk::lose_pages(File& file) {
  // What the failed sync could not write is clean from now on and will never be written; some of it did get there.
  for (const Change& change : file.unsynced) {
    if (prng_.chance(1, 2)) survive(change, CutModel::kPages, &file.durable);
  }
  file.unsynced.clear();
}

void SimDisk::heal() {
  injections_.clear();
  rates_ = {};
}

// --- Space and the medium.

uint64_t SimDisk::used_bytes() const {
  uint64_t used = 0;
  for (const auto& [name, number] : names_) used += round_up(files_.at(number).current.size(), kPageBytes);
  return used;
}

bool SimDisk::room_for(uint64_t more_bytes) const {
  return capacity_ == 0 || more_bytes == 0 || used_bytes() + more_bytes <= capacity_;
}

void SimDisk::drop_unnamed() {
  std::set<uint64_t> named;
  for (const auto& [name, number] : names_) named.insert(number);
  for (const auto& [name, number] : names_durable_) named.insert(number);
  for (const NameChange& change : names_unsynced_) named.insert(change.file);
  std::erase_if(files_, [&](const auto& entry) { return !named.contains(entry.first); });
}

std::vector<std::string> SimDisk::durable_names() const {
  std::vector<std::string> out;
  for (const auto& [name, number] : names_durable_) out.push_back(name);
  return out;
}

const Image* SimDisk::durable(const std::string& name) const {
  const auto it = names_durable_.find(name);
  return it == names_durable_.end() ? nullptr : &files_.at(it->second).durable;
}

void SimDisk::flip(const std::string& name, uint64_t offset, uint8_t mask) {
  File& file = files_.at(names_durable_.at(name));
  file.durable.flip(offset, mask);
  if (offset < file.current.size()) file.current.flip(offset, mask);
}

std::optional<SimDisk::Place> SimDisk::random_place(Prng& prng) const {
  std::vector<Place> pages;
  for (const auto& [name, number] : names_durable_) {
    const Image& image = files_.at(number).durable;
    for (const uint64_t page : image.used_pages()) {
      const uint64_t begin = page * kPageBytes;
      if (begin < image.size()) pages.push_back({name, begin, std::min(kPageBytes, image.size() - begin)});
    }
  }
  if (pages.empty()) return std::nullopt;
  Place place = pages[prng.below(pages.size())];
  place.offset += prng.below(place.size);
  place.size = 1;
  return place;
}

void SimDisk::plant_file(const std::string& name, Bytes bytes) {
  take_file(name);
  const uint64_t number = file_next_++;
  File& file = files_[number];
  file.durable.write(0, bytes);
  file.current = file.durable;
  names_[name] = number;
  names_durable_[name] = number;
}

void SimDisk::take_file(const std::string& name) {
  std::erase_if(names_unsynced_,
                [&](const NameChange& change) { return change.name == name || change.to == name; });
  names_.erase(name);
  names_durable_.erase(name);
  drop_unnamed();
}

bool SimDisk::all_synced() const {
  if (!names_unsynced_.empty()) return false;
  return std::all_of(names_.begin(), names_.end(),
                     [&](const auto& entry) { return files_.at(entry.second).unsynced.empty(); });
}

}  // namespace hf::sim
