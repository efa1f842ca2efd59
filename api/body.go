package api

import (
	"bytes"
	"errors"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"
)

const (
	// Smartcar sends at most 50 KB. Source: Smartcar, "webhook request".
	maxBodyBytes = 256 << 10
	// No more than this is set aside on the word of a Content-Length alone.
	maxInitialBuffer = 64 << 10
)

var (
	errBodyTooLarge    = errors.New("api: body over 256 KiB")
	errBodyEncoded     = errors.New("api: body is compressed")
	errBodyNotObject   = errors.New("api: body does not begin as a JSON object")
	errRequestUnusable = errors.New("api: request ended before its body")
)

func tooLarge() answer {
	reply := rejection(http.StatusRequestEntityTooLarge, resultTooLarge,
		"body over 262144 bytes; no webhook of Smartcar is that long", errBodyTooLarge)
	reply.closes = true
	return reply
}

// readBody returns the body as received, at most 256 KiB, once it begins as a JSON object; else the refusal.
func readBody(c *gin.Context) ([]byte, *answer) {
	for _, encoding := range c.Request.Header.Values("Content-Encoding") {
		if encoding != "" && !strings.EqualFold(encoding, "identity") {
			reply := rejection(http.StatusUnsupportedMediaType, resultUnsupportedEncoding,
				"Content-Encoding is not supported; send the body as it was signed", errBodyEncoded)
			reply.closes = true
			return nil, &reply
		}
	}
	if c.Request.ContentLength > maxBodyBytes {
		reply := tooLarge()
		return nil, &reply
	}
	expected := min(max(c.Request.ContentLength, 0), maxInitialBuffer) + bytes.MinRead
	buffer := bytes.NewBuffer(make([]byte, 0, expected))
	if _, err := buffer.ReadFrom(http.MaxBytesReader(c.Writer, c.Request.Body, maxBodyBytes)); err != nil {
		if _, over := errors.AsType[*http.MaxBytesError](err); over {
			reply := tooLarge()
			return nil, &reply
		}
		reply := rejection(http.StatusBadRequest, resultUnreadable,
			"the body ended early; deliver again", errRequestUnusable)
		reply.closes = true
		return nil, &reply
	}
	body := buffer.Bytes()
	if !beginsAsObject(body) {
		reply := rejection(http.StatusBadRequest, resultNotObject,
			"the body is not a JSON object; send a webhook of Smartcar", errBodyNotObject)
		return nil, &reply
	}
	return body, nil
}

// beginsAsObject spares work and, more than that, makes a signature obtained for a challenge worthless: no challenge
// is an object. Source: Smartcar, "the signing-oracle problem".
func beginsAsObject(body []byte) bool {
	trimmed := bytes.TrimLeft(body, " \t\r\n")
	return len(trimmed) > 0 && trimmed[0] == '{'
}
