#pragma once

namespace runnel::detail {

/// A node of a circular intrusive list. It unlinks itself without knowing its list, which is what
/// lets a waiter die at any moment. An unlinked node points at itself.
class list_hook {
 public:
  list_hook() noexcept = default;
  /// Only an unlinked node may be moved; the new one is unlinked too.
  list_hook(list_hook&&) noexcept {}
  list_hook(const list_hook&) = delete;
  list_hook& operator=(const list_hook&) = delete;
  ~list_hook() { unlink(); }

  bool linked() const noexcept { return next_ != this; }

  void unlink() noexcept {
    prev_->next_ = next_;
    next_->prev_ = prev_;
    prev_ = this;
    next_ = this;
  }

  /// Links this unlinked node in front of `position`.
  void insert_before(list_hook& position) noexcept {
    prev_ = position.prev_;
    next_ = &position;
    prev_->next_ = this;
    position.prev_ = this;
  }

  list_hook* next() const noexcept { return next_; }

 private:
  list_hook* prev_ = this;
  list_hook* next_ = this;
};

/// Gives a class a second list_hook base of another type.
template <class Tag>
class tagged_hook : public list_hook {};

/// A list of `T`s that are linked through their base `Hook`. It owns nothing: when it dies, its
/// nodes are left unlinked.
template <class T, class Hook = list_hook>
class list {
 public:
  list() noexcept = default;
  list(const list&) = delete;
  list& operator=(const list&) = delete;
  ~list() { clear(); }

  bool empty() const noexcept { return !head_.linked(); }

  void push_back(T& node) noexcept { static_cast<Hook&>(node).insert_before(head_); }
  void push_front(T& node) noexcept { static_cast<Hook&>(node).insert_before(*head_.next()); }

  T& front() noexcept { return *cast(head_.next()); }

  T& pop_front() noexcept {
    T& node = front();
    static_cast<Hook&>(node).unlink();
    return node;
  }

  /// The node after `node`, or null at the end.
  T* after(T& node) noexcept {
    list_hook* next = static_cast<Hook&>(node).next();
    return next == &head_ ? nullptr : cast(next);
  }

  void clear() noexcept {
    while (!empty()) {
      head_.next()->unlink();
    }
  }

  /// Takes over all nodes of `other`, in order, behind those already here.
  void splice_back(list& other) noexcept {
    while (!other.empty()) {
      list_hook* node = other.head_.next();
      node->unlink();
      node->insert_before(head_);
    }
  }

 private:
  static T* cast(list_hook* hook) noexcept { return static_cast<T*>(static_cast<Hook*>(hook)); }

  list_hook head_;
};

}  // namespace runnel::detail
