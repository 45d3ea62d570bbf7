// The OpenAPI document in Swagger UI, which asks nobody else about it.

SwaggerUIBundle({ url: "openapi.json", dom_id: "#document", deepLinking: true, validatorUrl: null });
