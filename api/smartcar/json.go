package smartcar

import (
	"bytes"
	"encoding/json"
	"iter"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

// The functions here read JSON that json.Valid has accepted, one level at a time. Layers of map[string]json.RawMessage
// would validate each nesting level again on the receiver's hot path, and struct tags would match names in any case and
// lose members nobody foresaw. Only gjson's walking is used: its paths return the first of repeated names, and its
// strings hold invalid UTF-8 as sent and lose the character after half of a surrogate pair.

type kind byte

const (
	kindAbsent kind = iota
	kindNull
	kindBool
	kindNumber
	kindString
	kindArray
	kindObject
)

// kindOf looks at the first byte only; raw must not start with white space.
func kindOf(raw []byte) kind {
	if len(raw) == 0 {
		return kindAbsent
	}
	switch raw[0] {
	case '{':
		return kindObject
	case '[':
		return kindArray
	case '"':
		return kindString
	case 't', 'f':
		return kindBool
	case 'n':
		return kindNull
	default:
		return kindNumber
	}
}

// isAbsent treats null as absent, as Smartcar does for optional members.
func isAbsent(raw []byte) bool { return kindOf(raw) <= kindNull }

// members yields the members of an object in the order sent, a repeated name every time; nothing for other kinds.
func members(raw []byte) iter.Seq2[[]byte, json.RawMessage] {
	return func(yield func([]byte, json.RawMessage) bool) {
		if kindOf(raw) != kindObject {
			return
		}
		gjson.ParseBytes(raw).ForEach(func(name, value gjson.Result) bool {
			return yield(memberName(within(raw, name)), within(raw, value))
		})
	}
}

// member returns the last member of that name, as encoding/json and JavaScript do; nil when there is none.
func member(raw []byte, name string) json.RawMessage {
	var found json.RawMessage
	for key, value := range members(raw) {
		if string(key) == name {
			found = value
		}
	}
	return found
}

// elements yields the elements of an array; nothing for other kinds.
func elements(raw []byte) iter.Seq[json.RawMessage] {
	return func(yield func(json.RawMessage) bool) {
		if kindOf(raw) != kindArray {
			return
		}
		gjson.ParseBytes(raw).ForEach(func(_, value gjson.Result) bool { return yield(within(raw, value)) })
	}
}

// within gives the bytes that found was parsed from; gjson's own are those of a copy.
func within(raw []byte, found gjson.Result) json.RawMessage {
	end := found.Index + len(found.Raw)
	return raw[found.Index:end:end]
}

// memberName keeps NUL: a name with one is another name than that without.
func memberName(quoted []byte) []byte {
	if bytes.IndexByte(quoted, '\\') >= 0 || !utf8.Valid(quoted) {
		return []byte(unescaped(quoted))
	}
	return quoted[1 : len(quoted)-1]
}

// unquote decodes a JSON string: always valid UTF-8, and without NUL, which PostgreSQL's text cannot hold.
func unquote(raw []byte) string {
	if bytes.IndexByte(raw, '\\') < 0 && utf8.Valid(raw) {
		return string(raw[1 : len(raw)-1])
	}
	return strings.ReplaceAll(unescaped(raw), "\x00", "")
}

func unescaped(raw []byte) string {
	var decoded string
	if err := json.Unmarshal(raw, &decoded); err != nil {
		return ""
	}
	return decoded
}

// text reads a member that ought to be a string; a number is taken by its digits, other kinds are "".
func text(raw []byte) string {
	switch kindOf(raw) {
	case kindString:
		return unquote(raw)
	case kindNumber:
		return string(raw)
	default:
		return ""
	}
}

// textOf is text, and whether that is all there is to the value.
func textOf(raw []byte) (string, bool) {
	read := text(raw)
	return read, read != "" || isAbsent(raw) || string(raw) == `""`
}

// sentText is text, but keeps a value of a wrong kind visible so that it cannot pass for an absent one: an array or an
// object by its brackets, which are the same however it is written.
func sentText(raw []byte) string {
	switch kindOf(raw) {
	case kindBool:
		return string(raw)
	case kindArray:
		return "[]"
	case kindObject:
		return "{}"
	default:
		return text(raw)
	}
}

// integer reads a whole number, also one sent as a string.
func integer(raw []byte) (int, bool) {
	number, err := strconv.Atoi(text(raw))
	return number, err == nil
}
