package smartcartest

import (
	"encoding/json"
	"strconv"
)

const (
	decimalBase = 10
	doubleBits  = 64
)

// writer appends compact JSON in the order it is called. Bodies are built with it
// because the order of their members matters, and because a benchmark's sender
// must cost little beside the receiver it measures.
type writer struct{ buffer []byte }

func (w *writer) separate() {
	if length := len(w.buffer); length > 0 {
		if last := w.buffer[length-1]; last != '{' && last != '[' && last != ':' {
			w.buffer = append(w.buffer, ',')
		}
	}
}

func (w *writer) name(name string) {
	w.separate()
	w.buffer = append(w.buffer, quoted(name)...)
	w.buffer = append(w.buffer, ':')
}

// open begins an object or list as an element; close ends it.
func (w *writer) open(bracket byte) {
	w.separate()
	w.buffer = append(w.buffer, bracket)
}

func (w *writer) openMember(name string, bracket byte) {
	w.name(name)
	w.open(bracket)
}

func (w *writer) close(brackets string) { w.buffer = append(w.buffer, brackets...) }

// element writes a text in a list.
func (w *writer) element(value string) {
	w.separate()
	w.buffer = append(w.buffer, quoted(value)...)
}

func (w *writer) text(name, value string) {
	w.name(name)
	w.buffer = append(w.buffer, quoted(value)...)
}

func (w *writer) textUnlessEmpty(name, value string) {
	if value != "" {
		w.text(name, value)
	}
}

func (w *writer) integer(name string, value int64) {
	w.name(name)
	w.buffer = strconv.AppendInt(w.buffer, value, decimalBase)
}

func (w *writer) decimal(name string, value float64) {
	w.name(name)
	w.buffer = strconv.AppendFloat(w.buffer, value, 'f', -1, doubleBits)
}

func (w *writer) raw(name string, value []byte) {
	w.name(name)
	w.buffer = append(w.buffer, value...)
}

func quoted(value string) []byte {
	encoded, _ := json.Marshal(value) //nolint:errchkjson // A string always has an encoding.

	return encoded
}
