package smartcar

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

const (
	doubleBits  = 64
	decimalBase = 10
)

// arrange gives the members as a language's objects hold them: of a repeated name the first place and the last
// value, and the names in the order of the form.
func (f *jsonForm) arrange(members []jsonMember) []jsonMember {
	arranged := slices.Clone(members)
	if !f.keepsRepeatedNames {
		arranged = lastOfEachName(members)
	}
	if f.namesSorted {
		slices.SortStableFunc(arranged, func(a, b jsonMember) int { return slices.Compare(a.name, b.name) })
	}
	if f.indexesFirst {
		slices.SortStableFunc(arranged, func(a, b jsonMember) int { return cmp.Compare(place(a.name), place(b.name)) })
	}
	return arranged
}

func lastOfEachName(members []jsonMember) []jsonMember {
	at := make(map[string]int, len(members))
	var kept []jsonMember
	for _, member := range members {
		key := fmt.Sprint(member.name)
		if first, seen := at[key]; seen {
			kept[first].value = member.value
			continue
		}
		at[key] = len(kept)
		kept = append(kept, member)
	}
	return kept
}

// place orders the names of a JavaScript object: array indexes by their number, then the others as they came.
// Source: ECMAScript, "OrdinaryOwnPropertyKeys".
func place(name []rune) int64 {
	index, err := strconv.ParseUint(string(name), decimalBase, 32)
	if err != nil || index == math.MaxUint32 || strconv.FormatUint(index, decimalBase) != string(name) {
		return math.MaxInt64
	}
	return int64(index)
}

// javaScriptNumber writes a number as JavaScript does: 104.0 as 104. Source: ECMAScript, "Number::toString".
func javaScriptNumber(sent []byte) []byte {
	number, _ := strconv.ParseFloat(string(sent), doubleBits) // One out of range is the infinity wanted here.
	const firstSmall, firstLarge = 1e-6, 1e21
	size := math.Abs(number)
	switch {
	case math.IsInf(number, 0):
		return []byte("null")
	case number == 0:
		return []byte("0")
	case size < firstSmall || size >= firstLarge:
		text := strconv.FormatFloat(number, 'e', -1, doubleBits)
		// JavaScript's exponent has no leading zero.
		return []byte(strings.NewReplacer("e-0", "e-", "e+0", "e+").Replace(text))
	default:
		return strconv.AppendFloat(nil, number, 'f', -1, doubleBits)
	}
}

// pythonNumber writes an integer by its digits and others as Python's repr does. Source: Python, "json".
func pythonNumber(sent []byte) []byte {
	if !bytes.ContainsAny(sent, ".eE") {
		integer, ok := new(big.Int).SetString(string(sent), decimalBase)
		if !ok {
			return sent
		}
		return []byte(integer.String())
	}
	number, _ := strconv.ParseFloat(string(sent), doubleBits) // One out of range is the infinity wanted here.
	const firstSmall, firstLarge = 1e-4, 1e16
	size := math.Abs(number)
	switch {
	case math.IsInf(number, 1):
		return []byte("Infinity")
	case math.IsInf(number, -1):
		return []byte("-Infinity")
	case size != 0 && (size < firstSmall || size >= firstLarge):
		return strconv.AppendFloat(nil, number, 'e', -1, doubleBits)
	}
	text := strconv.AppendFloat(nil, number, 'f', -1, doubleBits)
	if !bytes.ContainsRune(text, '.') {
		text = append(text, ".0"...)
	}
	return text
}

// javaScriptString escapes what JSON must and, beyond that, only lone halves of surrogate pairs.
// Source: ECMAScript, "QuoteJSONString".
func javaScriptString(quoted []byte) []byte {
	return writeString(quoted, utf16.IsSurrogate)
}

// asciiString escapes all that is not printable ASCII. Source: Python, "json", ensure_ascii.
func asciiString(quoted []byte) []byte {
	return writeString(quoted, func(point rune) bool { return point > '~' })
}

func writeString(quoted []byte, escaped func(rune) bool) []byte {
	short := map[rune]string{'"': `\"`, '\\': `\\`, '\b': `\b`, '\f': `\f`, '\n': `\n`, '\r': `\r`, '\t': `\t`}
	written := []byte{'"'}
	for _, point := range codePoints(quoted) {
		switch text, known := short[point]; {
		case known:
			written = append(written, text...)
		case point < ' ' || escaped(point):
			if high, low := utf16.EncodeRune(point); high != utf8.RuneError {
				written = fmt.Appendf(written, `\u%04x\u%04x`, high, low)
			} else {
				written = fmt.Appendf(written, `\u%04x`, point)
			}
		default:
			written = utf8.AppendRune(written, point)
		}
	}
	return append(written, '"')
}

// codePoints decodes a quoted JSON string. Unlike a Go string it can hold half of a surrogate pair, which JavaScript
// and Python keep.
func codePoints(quoted []byte) []rune {
	inner := quoted[1 : len(quoted)-1]
	var points []rune
	for len(inner) > 0 {
		if inner[0] != '\\' {
			point, size := utf8.DecodeRune(inner)
			points, inner = append(points, point), inner[size:]
			continue
		}
		point, size := escape(inner)
		inner = inner[size:]
		if last := len(points) - 1; last >= 0 && point >= 0xdc00 && point <= 0xdfff {
			if whole := utf16.DecodeRune(points[last], point); whole != utf8.RuneError {
				points[last] = whole
				continue
			}
		}
		points = append(points, point)
	}
	return points
}

// escape decodes the escape that text, accepted by json.Valid, begins with.
func escape(text []byte) (point rune, size int) {
	const hexadecimal, unicodeSize, shortSize = 16, len(`\u0000`), len(`\n`)
	if text[1] == 'u' {
		unit, _ := strconv.ParseInt(string(text[2:unicodeSize]), hexadecimal, 32) // json.Valid has seen its digits.
		return rune(unit), unicodeSize
	}
	letters := map[byte]rune{'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}
	if control, found := letters[text[1]]; found {
		return control, shortSize
	}
	return rune(text[1]), shortSize
}
