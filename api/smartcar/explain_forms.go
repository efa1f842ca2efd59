package smartcar

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"iter"
	"slices"

	"github.com/tidwall/gjson"
)

// bodyForm is a body written in another way.
type bodyForm struct {
	name string
	body []byte
}

// jsonForm is a way to write a JSON value anew.
type jsonForm struct {
	name string
	// indent is one level's; "" keeps everything on one line.
	indent                    string
	betweenValues, afterName  string
	writeNumber               func(sent []byte) []byte
	writeString               func(sent []byte) []byte
	namesSorted, indexesFirst bool
	keepsRepeatedNames        bool
}

func unchanged(raw []byte) []byte { return raw }

// jsonForms are those of common languages' libraries with their usual options.
func jsonForms() []jsonForm {
	sent := jsonForm{
		betweenValues: ",", afterName: ":", writeNumber: unchanged, writeString: unchanged, keepsRepeatedNames: true,
	}
	javaScript := jsonForm{
		betweenValues: ",", afterName: ":", writeNumber: javaScriptNumber, writeString: javaScriptString, indexesFirst: true,
	}
	python := jsonForm{betweenValues: ", ", afterName: ": ", writeNumber: pythonNumber, writeString: asciiString}
	form := func(from jsonForm, name string, changes ...func(*jsonForm)) jsonForm {
		from.name = name
		for _, change := range changes {
			change(&from)
		}
		return from
	}
	compact := func(f *jsonForm) { f.betweenValues, f.afterName = ",", ":" }
	indented := func(f *jsonForm) { f.betweenValues, f.afterName, f.indent = ",", ": ", "  " }
	sorted := func(f *jsonForm) { f.namesSorted, f.indexesFirst = true, false }
	unescaped := func(f *jsonForm) { f.writeString = javaScriptString }
	return []jsonForm{
		form(sent, "compact, without white space between values"),
		form(sent, "indented by 2 spaces", indented),
		form(sent, "compact with sorted names", sorted),
		form(javaScript, "as JavaScript's JSON.stringify writes it"),
		form(javaScript, "as JavaScript's JSON.stringify writes it, indented by 2 spaces", indented),
		form(javaScript, "as JavaScript's JSON.stringify writes it, with sorted names", sorted),
		form(python, "as Python's json.dumps writes it"),
		form(python, "as Python's json.dumps writes it, with sorted names", sorted),
		form(python, "as Python's json.dumps writes it, compact", compact),
		form(python, "as Python's json.dumps writes it, compact with sorted names", compact, sorted),
		form(python, "as Python's json.dumps writes it, indented by 2 spaces", indented),
		form(python, "as Python's json.dumps writes it, without ASCII escapes", unescaped),
		form(python, "as Python's json.dumps writes it, compact without ASCII escapes", compact, unescaped),
	}
}

// deepestRewritten is how deep a body may be nested to be written anew; Smartcar's have a dozen levels. Indentation, and
// reading level by level, multiply the size of a body by its depth, and anybody can send one.
const deepestRewritten = 32

// bodyForms yields the body as received, then its other forms, each set of bytes once, and says whether it is JSON.
func bodyForms(body []byte) (forms iter.Seq2[string, []byte], isJSON bool) {
	trimmed := bytes.Trim(bytes.TrimPrefix(body, []byte("\ufeff")), " \t\r\n")
	isJSON = json.Valid(trimmed)
	return func(yield func(string, []byte) bool) {
		seen := make(map[[sha256.Size]byte]bool)
		fresh := func(form bodyForm) bool {
			digest := sha256.Sum256(form.body)
			known := seen[digest]
			seen[digest] = true
			return !known
		}
		for _, form := range edgeForms(body) {
			if fresh(form) && !yield(form.name, form.body) {
				return
			}
		}
		if !isJSON || depth(trimmed) > deepestRewritten {
			return
		}
		value := parseValue(trimmed)
		for _, form := range jsonForms() {
			written := form.write(nil, value, 0)
			for _, ended := range []bodyForm{
				{form.name, written},
				{form.name + " and a newline", append(slices.Clone(written), '\n')},
			} {
				if fresh(ended) && !yield(ended.name, ended.body) {
					return
				}
			}
		}
	}, isJSON
}

// depth counts the levels of arrays and objects in valid JSON.
func depth(raw []byte) int {
	level, deepest, inString := 0, 0, false
	for i := 0; i < len(raw); i++ {
		switch c := raw[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			level++
			deepest = max(deepest, level)
		case c == '}' || c == ']':
			level--
		}
	}
	return deepest
}

// jsonValue is a JSON value whose scalars and names are still as sent.
type jsonValue struct {
	raw      json.RawMessage // of a scalar
	kind     kind
	members  []jsonMember
	elements []jsonValue
}

type jsonMember struct {
	quoted []byte
	// name is without escapes: by code points, in which half of a surrogate pair has a place.
	name  []rune
	value jsonValue
}

// parseValue reads JSON that json.Valid has accepted and that is not deep.
func parseValue(raw json.RawMessage) jsonValue {
	value := jsonValue{raw: raw, kind: kindOf(raw)}
	switch value.kind {
	case kindObject:
		gjson.ParseBytes(raw).ForEach(func(name, found gjson.Result) bool {
			quoted := within(raw, name)
			value.members = append(value.members, jsonMember{
				quoted: quoted, name: codePoints(quoted), value: parseValue(within(raw, found)),
			})
			return true
		})
	case kindArray:
		for element := range elements(raw) {
			value.elements = append(value.elements, parseValue(element))
		}
	default:
	}
	return value
}

func (f *jsonForm) write(written []byte, value jsonValue, depth int) []byte {
	switch value.kind {
	case kindObject:
		members := f.arrange(value.members)
		return f.writeAll(written, '{', '}', len(members), depth, func(written []byte, i int) []byte {
			written = append(written, f.writeString(members[i].quoted)...)
			written = append(written, f.afterName...)
			return f.write(written, members[i].value, depth+1)
		})
	case kindArray:
		return f.writeAll(written, '[', ']', len(value.elements), depth, func(written []byte, i int) []byte {
			return f.write(written, value.elements[i], depth+1)
		})
	case kindNumber:
		return append(written, f.writeNumber(value.raw)...)
	case kindString:
		return append(written, f.writeString(value.raw)...)
	default:
		return append(written, value.raw...)
	}
}

func (f *jsonForm) writeAll(written []byte, begin, end byte, count, depth int, one func([]byte, int) []byte) []byte {
	written = append(written, begin)
	for i := range count {
		if i > 0 {
			written = append(written, f.betweenValues...)
		}
		written = f.newLine(written, depth+1)
		written = one(written, i)
	}
	if count > 0 {
		written = f.newLine(written, depth)
	}
	return append(written, end)
}

func (f *jsonForm) newLine(written []byte, depth int) []byte {
	if f.indent == "" {
		return written
	}
	written = append(written, '\n')
	for range depth {
		written = append(written, f.indent...)
	}
	return written
}
