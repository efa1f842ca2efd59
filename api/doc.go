// Package api is Milepost's public HTTP surface: the webhook receiver and the health endpoints, served with Gin.
//
// The receiver does as little as it can before it answers: cap the body, check the signature over the raw bytes,
// commit to the ledger, 200. Smartcar gives a delivery up for ever after 175 s, so an answer may depend on the
// ledger alone and nothing is processed here. Source: Smartcar, "delivery behaviour".
package api
